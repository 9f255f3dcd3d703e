"""Which routes would take away what a node lives on, as a table; and what is derived then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from romana_bus.inet import Prefix, parse_address, parse_prefix
from romana_bus.routing import Guard, Network, plan_withdrawal, refused, standing
from romana_bus.routing.routes.aggregate import aggregate
from tests.routing.routes.hosts_and_blocks import PAIR, block, placed, released
from tests.routing.routes.node_in_memory import World, world_after

FOUR, SIX = "172.31.1.0/24", "fd31:1::/64"


def network(
    own: str = "172.31.1.5 fd31:1::5",
    connected: str = f"{FOUR} {SIX} 172.17.0.0/16",
    gateways: str = "172.31.1.1 fd31:1::1",
    reached: str = "10.9.0.7 172.31.1.9 192.0.2.9",
    lengths: str = "172.31.1.1/24 fd31:1::1/64 172.31.1.9/24 192.0.2.9/24",
) -> Network:
    """By default a node on one link of both families and one of docker's. The log is at 10.9.0.7, behind the
    default route; on the link; and at 192.0.2.9, behind a static route to 192.0.2.0/24."""
    split = [text.split("/") for text in lengths.split()]
    return Network(
        frozenset(map(parse_address, own.split())),
        frozenset(map(parse_prefix, connected.split())),
        frozenset(map(parse_address, gateways.split())),
        frozenset(map(parse_address, reached.split())),
        {parse_address(address): int(length) for address, length in split},
    )


NODE = network()
#: As clouds have it: the node's address has no prefix, and its gateway a route of its own.
CLOUD = network("10.128.0.2", "", "10.128.0.1", "10.9.0.7", "10.128.0.1/32")
#: Its only way is to its link.
LONELY = network("172.31.1.5", FOUR, "", "172.31.1.9", "172.31.1.9/24")

#: Who, route, and a part of the reason: '' where the route is harmless.
TABLE = [
    # The connected prefix: itself, a part of it, what covers it, its neighbours.
    (NODE, FOUR, "lies in 172.31.1.0/24"),
    (NODE, SIX, "lies in fd31:1::/64"),
    (NODE, "172.31.1.0/25", "lies in 172.31.1.0/24"),
    (NODE, "172.31.1.128/25", "lies in"),
    (NODE, "172.31.1.1/32", "lies in"),
    (NODE, "172.31.1.77/32", "lies in"),
    (NODE, "fd31:1::5/128", "lies in"),
    (NODE, "172.17.3.0/24", "lies in 172.17.0.0/16"),
    (NODE, "172.31.0.0/23", ""),
    (NODE, "172.16.0.0/12", ""),
    (NODE, "fd31::/16", ""),
    (NODE, "172.31.0.0/24", ""),
    (NODE, "172.31.2.0/24", ""),
    (NODE, "fd31:1:0:1::/64", ""),
    # The way to the log: by the default route, by the link, by a static route.
    (NODE, "10.9.0.7/32", "the way to 10.9.0.7"),
    (NODE, "10.9.0.0/16", "the way to 10.9.0.7"),
    (NODE, "10.0.0.0/8", "the way to 10.9.0.7"),
    (NODE, "0.0.0.0/0", "the way to 10.9.0.7"),
    (NODE, "10.8.0.0/16", ""),
    (NODE, "10.9.0.8/29", ""),
    (NODE, "192.0.2.0/25", "the way to 192.0.2.9"),
    (NODE, "192.0.2.0/24", "the way to 192.0.2.9"),
    (NODE, "192.0.0.0/16", ""),
    (NODE, "192.0.2.128/25", ""),
    (NODE, "::/0", ""),
    # Without a connected prefix.
    (CLOUD, "10.128.0.2/32", "an address of this node"),
    (CLOUD, "10.128.0.0/20", "an address of this node"),
    (CLOUD, "10.128.0.1/32", "a gateway"),
    (CLOUD, "10.128.0.0/31", ""),  # the gateway's own route is longer
    (CLOUD, "10.64.0.0/10", ""),
    (LONELY, "172.31.1.9/32", "lies in"),
    (LONELY, "0.0.0.0/0", ""),
    (Network(), FOUR, ""),
    (Network(), "0.0.0.0/0", ""),
]


@pytest.mark.parametrize(("lives_on", "route", "why"), TABLE, ids=[f"{row[1]} {row[2]}" for row in TABLE])
def test_route_that_would_take_away_what_the_node_lives_on_is_refused(
    lives_on: Network, route: str, why: str
) -> None:
    said = Guard(lives_on).refuses(parse_prefix(route))
    assert why in said
    assert bool(said) == bool(why)


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("172.31.1.5", "an address of this node"),
        ("fd31:1::1", "a gateway"),
        ("10.9.0.7", "reaches the log"),
        ("172.31.1.77", ""),
        ("10.9.0.8", ""),
    ],
)
def test_address_that_the_node_needs_is_for_no_pod(address: str, what: str) -> None:
    said = Guard(NODE).needs(*parse_address(address))
    assert what in said
    assert bool(said) == bool(what)


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    """In 256 addresses."""
    length = draw(st.integers(24, 32))
    return Prefix(32, draw(st.integers(0, 255)) >> (32 - length) << (32 - length), length)


def addresses() -> st.SearchStrategy[frozenset[tuple[int, int]]]:
    return st.frozensets(st.tuples(st.just(32), st.integers(0, 255)), max_size=3)


@given(st.frozensets(prefixes(), max_size=4), addresses(), addresses(), st.lists(prefixes(), max_size=8))
def test_packets_to_what_the_node_needs_go_where_they_went(
    connected: frozenset[Prefix],
    own: frozenset[tuple[int, int]],
    gateways: frozenset[tuple[int, int]],
    routes: list[Prefix],
) -> None:
    """The longest prefix wins: of all addresses of the link, and of those that the node needs."""
    guard = Guard(Network(own, connected, gateways))
    installed = [route for route in routes if not guard.refuses(route)]

    def longest(among: list[Prefix], value: int) -> int:
        return max((prefix.length for prefix in among if prefix.includes(32, value)), default=-1)

    for value in range(256):
        theirs = longest([*connected], value)
        if theirs >= 0:
            assert longest(installed, value) < theirs
        elif (32, value) in own | gateways:
            assert longest(installed, value) == -1


@given(st.lists(prefixes(), max_size=8, min_size=1), st.frozensets(prefixes(), max_size=3), addresses())
def test_routes_that_are_clear_at_one_look_are_not_refused(
    blocks: list[Prefix], connected: frozenset[Prefix], own: frozenset[tuple[int, int]]
) -> None:
    guard, routes = Guard(Network(own, connected)), aggregate(blocks)
    if guard.is_clear(routes):
        assert not any(map(guard.refuses, routes))
    if not any(map(guard.refuses, blocks)):
        assert not any(map(guard.refuses, routes))  # a route is as long as each of its blocks, or shorter


@pytest.mark.parametrize(
    ("routes", "clear"),
    [
        ("100.64.0.0/28 100.64.1.0/28", True),
        ("10.9.0.8/29 10.200.0.0/16", True),
        ("10.9.0.0/29", False),
        ("10.8.0.0/16 10.10.0.0/16", False),
        ("172.31.1.16/28", False),
        ("172.31.0.0/24 172.31.2.0/24", False),
        ("172.31.2.0/24 172.31.3.0/24", True),
        ("0.0.0.0/0", False),
        ("fd01::/64 fd02::/64", True),
        ("fd31:1::/64", False),
        ("fd31::/16", False),
    ],
)
def test_one_look_for_the_routes_of_a_host(routes: str, clear: bool) -> None:
    assert Guard(NODE).is_clear([*map(parse_prefix, routes.split())]) == clear


# --- what is derived --------------------------------------------------------------------------------------


def live_on(world: World, lives_on: Network) -> None:
    """As the reconciler does after it has read it."""
    if world.kernel.set_network(lives_on):
        world.state.touch_all()
    world.settle()


def test_only_the_dangerous_block_of_a_host_is_left_out_and_named() -> None:
    world = world_after(PAIR, [block("you", "10.1.0.32/28"), block("you", "10.1.0.48/28")])
    live_on(world, network("10.99.0.1", "10.1.0.32/29", "", "", "10.99.0.1/16"))
    before = dict(world.routes)
    live_on(world, network("10.99.0.1 10.1.0.33", "10.99.0.0/16", "", ""))
    assert before.keys() - world.routes.keys() == {"10.1.0.32/27"}
    assert world.routes["10.1.0.48/28"] == "10.99.0.2"
    assert [*map(str, refused(world.state))] == ["10.1.0.0/16", "10.1.0.32/28"]
    assert standing(world.state, world.kernel)["routes refused"] == 2


def test_route_comes_back_when_it_is_harmless_again() -> None:
    world = world_after(PAIR)
    before = world.routes, world.unreachable
    live_on(world, network("10.1.1.9 fd01::9", "10.1.1.0/24 fd01::/64", "", ""))
    assert world.routes == {"10.1.0.16/28": "10.99.0.2"}
    assert world.unreachable == ["10.1.0.0/16"]
    live_on(world, network("10.99.0.1", "10.99.0.0/16", "", ""))
    assert (world.routes, world.unreachable) == before
    assert refused(world.state) == {}


def test_own_blocks_are_unreachable_where_their_group_is_refused() -> None:
    world = world_after(PAIR)
    live_on(world, network("10.99.0.1", "10.99.0.0/16", "", "10.1.200.1", "10.1.200.1/0"))
    assert world.unreachable == ["10.1.0.0/28", "fd01::/64"]
    assert [*refused(world.state)] == [parse_prefix("10.1.0.0/16")]


def test_own_block_that_contains_a_gateway_is_not_made_unreachable() -> None:
    world = world_after(PAIR, [block("me", "10.7.0.0/28"), block("me", "10.7.1.0/28")])
    live_on(world, network("10.99.0.1", "10.99.0.0/16", "10.7.0.3", ""))
    assert world.unreachable == ["10.1.0.0/16", "10.7.1.0/28", "fd01::/64"]
    assert [*refused(world.state)] == [parse_prefix("10.7.0.0/28")]


def test_refused_block_that_is_released_is_forgotten() -> None:
    world = world_after(PAIR)
    live_on(world, network("10.1.1.9", "10.1.1.0/24", "", ""))
    world.feed(released("you", "10.1.1.0/28"))
    assert refused(world.state) == {}


def test_dangerous_routes_go_also_while_the_map_does_not_know_this_node() -> None:
    """A map that was lost: nothing else is removed."""
    world = world_after(PAIR)
    world.restarted()
    world.settle()
    live_on(world, network("10.1.1.9", "10.1.1.0/24", "", "10.1.200.1", "10.1.200.1/0"))
    assert world.routes.keys() == {"10.1.0.16/28", "fd01::10/124"}
    assert world.unreachable == ["fd01::/64"]


def test_without_a_log_only_dangerous_routes_are_withdrawn() -> None:
    world = world_after(PAIR)
    world.restarted()
    assert not plan_withdrawal(world.kernel)
    world.kernel.set_network(network("10.1.1.9", "10.1.1.0/24", "", "10.1.200.1", "10.1.200.1/0"))
    delta = plan_withdrawal(world.kernel)
    assert [str(route) for route, _ in delta.removed] == ["10.1.1.0/28"]
    assert [*map(str, delta.reachable)] == ["10.1.0.0/16"]
    assert len(delta) == 2


def test_host_off_link_has_nothing_to_refuse() -> None:
    world = world_after(PAIR, [placed("far", "192.0.2.9"), block("far", "172.31.1.0/28")])
    live_on(world, NODE)
    assert parse_prefix("172.31.1.0/28") not in refused(world.state)
