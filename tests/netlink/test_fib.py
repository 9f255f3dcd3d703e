"""Routes and nexthops in a real kernel: what is written is what others read there, and nothing else moves."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from romana_bus.inet import format_address, parse_address, parse_prefix
from romana_bus.netlink import nexthops
from romana_bus.netlink.fib import Forwarding
from romana_bus.netlink.fib_apply import HELD, Unapplied
from romana_bus.netlink.messages import message
from romana_bus.routing import Delta, Kernel, State, derive, evolve, plan
from romana_bus.routing.routes.nexthop_ids import OBJECTS
from tests import kernel
from tests.kernel import BLOCKS, Route, gateways, nexthop_ids
from tests.netns import Namespace, namespace, needs_namespaces
from tests.routing.routes.hosts_and_blocks import PAIR, block, denied, placed, released, removed

pytestmark = needs_namespaces

FIRST = OBJECTS.start


class Here:
    """The whole way without log and loop: fold, ask, dump, plan, apply."""

    def __init__(self, forwarding: Forwarding) -> None:
        self.forwarding, self.kernel, self.state = forwarding, Kernel(), State("me")

    def feed(self, *events: object, full: bool = False) -> int:
        for event in events:
            evolve(self.state, event, 1)  # type: ignore[arg-type]
        if full or not self.state.adopted:
            list(self.forwarding.read(self.kernel))
        for answers in self.forwarding.ask(self.state.addresses(self.state.hosts)):
            self.state.touch_where(self.kernel.answer(answers))
        return sum(self.forwarding.apply(self.plan(), self.kernel))

    def plan(self) -> Delta:
        derive(self.state, self.kernel)
        return plan(self.state, self.kernel)


@pytest.fixture
def here(forwarding: Forwarding) -> Here:
    return Here(forwarding)


def test_blocks_lead_to_their_hosts_in_both_families(node: Namespace, here: Here, objects: bool) -> None:
    assert here.feed(*PAIR) == 7
    assert node.routes(BLOCKS) == [
        unreachable("10.1.0.0/16"),
        to("10.1.0.16/28", "10.99.0.2", objects),
        to("10.1.1.0/28", "10.99.0.2", objects),
        to("fd01::10/124", "fd99::2", objects),
        unreachable("fd01::/64", ("", "lo")),
    ]
    ids = {"10.1.0.16/28": FIRST, "10.1.1.0/28": FIRST, "fd01::10/124": FIRST + 1}
    assert nexthop_ids(node.name, BLOCKS) == (ids if objects else {})
    made = {number: (one["gateway"], one["dev"]) for number, one in node.nexthops().items()}
    assert made == ({FIRST: ("10.99.0.2", "eth0"), FIRST + 1: ("fd99::2", "eth0")} if objects else {})


def to(destination: str, gateway: str, by_object: bool) -> Route:
    """A route of ours to a block."""
    return Route("unicast", destination, ((gateway, "eth0"),), 8200, BLOCKS, "universe", "", by_object)


def unreachable(destination: str, *paths: tuple[str, str]) -> Route:
    return Route("unreachable", destination, paths, 82_000_000, BLOCKS, "universe", "", by_object=False)


def test_second_sync_changes_nothing(node: Namespace, here: Here, objects: bool) -> None:
    here.feed(*PAIR)
    assert here.feed(full=True) == 0
    again = Here(here.forwarding)
    assert again.feed(*PAIR) == 0


def test_two_hosts_with_one_address_give_one_stable_answer(
    node: Namespace, here: Here, objects: bool
) -> None:
    """In any order, by one reader or the next: nothing flaps."""
    events = [
        placed("me", "10.99.0.1"), placed("a", "10.99.0.2"), placed("b", "10.99.0.2"),
        block("a", "10.1.0.16/28"), block("b", "10.1.0.32/28"), block("b", "10.1.0.48/28"),
        block("a", "10.1.0.64/28"),
    ]  # fmt: skip
    here.feed(*events)
    routes = node.routes(BLOCKS)
    assert {one.destination for one in routes} == {"10.1.0.16/28", "10.1.0.32/27", "10.1.0.64/28"}
    assert here.feed(full=True) == 0
    for order in (events, events[::-1]):
        again = Here(here.forwarding)
        assert again.feed(*order) == 0
        assert again.feed(full=True) == 0
    here.feed(placed("a", "10.99.0.3"))
    assert here.feed(full=True) == 0
    moved = [to("10.1.0.16/28", "10.99.0.3", objects), to("10.1.0.64/28", "10.99.0.3", objects)]
    assert node.routes(BLOCKS) == [moved[0], to("10.1.0.32/27", "10.99.0.2", objects), moved[1]]


def test_unchanged_dump_is_the_same_bytes(node: Namespace, here: Here, objects: bool) -> None:
    """In both families: so a look at an unchanged kernel parses nothing."""
    here.feed(*PAIR)
    list(here.forwarding.read(here.kernel))
    here.kernel.fresh = False
    list(here.forwarding.read(here.kernel))
    assert not here.kernel.fresh
    node.ip("route", "del", "10.1.1.0/28", "proto", "82")
    list(here.forwarding.read(here.kernel))
    assert here.kernel.fresh


def test_own_routes_are_removed_and_foreign_ones_stay(node: Namespace, here: Here, objects: bool) -> None:
    node.settle()
    before = Others.of(node)
    here.feed(*PAIR)
    here.state = State("me")
    here.feed(denied("me"))
    assert Others.of(node) == before
    assert node.nexthops() == {}


class Others(NamedTuple):
    """What the agent only reads, and routes."""

    links: dict[str, kernel.Link]
    addresses: set[kernel.Address]
    rules: list[tuple[int, int, str, int]]
    routes: list[Route]

    @classmethod
    def of(cls, node: Namespace) -> Others:
        name = node.name
        return cls(kernel.links(name), kernel.addresses(name), kernel.rules(name), kernel.routes(name))


FOREIGN = [
    ("10.1.0.16/28", "via", "10.99.7.7", "metric", "8200", "proto", "static"),
    ("10.1.0.16/28", "via", "10.99.7.8", "proto", "bird"),
    ("10.1.0.16/28", "via", "10.99.7.9", "metric", "8200", "proto", "boot", "table", "7"),
    ("unreachable", "10.1.0.0/16", "metric", "82000000", "proto", "static"),
]
FOREIGN_6 = [
    ("fd01::10/124", "via", "fd99::7", "metric", "8200", "proto", "static"),
    ("fd01::10/124", "via", "fd99::8", "proto", "bird"),
]


def test_foreign_routes_to_the_same_prefix_are_not_touched(
    node: Namespace, here: Here, objects: bool
) -> None:
    for route in FOREIGN:
        node.ip("route", "add", *route)
    for route in FOREIGN_6:
        node.ip("-6", "route", "add", *route)
    node.ip("nexthop", "add", "id", "7", "via", "10.99.7.7", "dev", "eth0")
    before, table, nexthops = node.routes(), node.routes(table=7), node.nexthops()
    assert len(table) == len(nexthops) == 1
    here.feed(*PAIR)
    if objects:  # without, IPv6 shows routes of one metric as paths of one route
        assert {*before} <= {*node.routes()}
    here.feed(placed("you", "10.99.0.9", "fd99::9"))
    here.feed(placed("they", "10.99.0.3", "fd99::3"), block("they", "10.1.0.16/28", 5), removed("you"))
    here.feed(full=True)
    here.state = State("me")
    here.feed(denied("me"))
    assert node.routes() == before
    assert node.routes(table=7) == table
    assert node.nexthops() == nexthops


def test_an_operators_route_without_metric_wins(node: Namespace, here: Here, objects: bool) -> None:
    here.feed(*PAIR)
    node.ip("route", "add", "10.1.0.16/28", "via", "10.99.7.7")
    node.ip("-6", "route", "add", "fd01::10/124", "via", "fd99::77")
    assert node.gateway_to("10.1.0.17") == "10.99.7.7"
    assert node.gateway_to("fd01::11") == "fd99::77"


def test_packet_to_an_unassigned_address_gets_unreachable(node: Namespace, here: Here, objects: bool) -> None:
    here.feed(*PAIR)
    for address in ("10.1.7.7", "fd01::7777"):
        assert kernel.route_to(node.name, address) is None
    assert node.gateway_to("10.2.0.1") == "10.99.255.254"


def test_a_block_moves_to_another_host(node: Namespace, here: Here, objects: bool) -> None:
    here.feed(placed("they", "10.99.0.3", "fd99::3"), block("they", "10.1.8.0/28"), *PAIR)
    here.feed(
        released("you", "10.1.0.16/28"), block("they", "10.1.0.16/28", 3), block("they", "fd01::10/124", 3)
    )
    assert node.gateway_to("10.1.0.17") == "10.99.0.3"
    assert node.gateway_to("fd01::11") == "fd99::3"
    assert len(node.routes(BLOCKS)) == 6
    assert here.feed(full=True) == 0


def test_one_bad_route_does_not_stop_the_others_and_is_named(
    node: Namespace, here: Here, objects: bool
) -> None:
    here.feed(*PAIR[:2])
    here.kernel.links[parse_address("192.0.2.9")] = here.kernel.links[parse_address("10.99.0.2")]
    for event in [placed("bad", "192.0.2.9"), block("bad", "10.3.0.0/28"), *PAIR[2:]]:
        evolve(here.state, event, 1)
    with pytest.raises(Unapplied, match=r"10\.3\.0\.0/28|192\.0\.2\.9"):
        list(here.forwarding.apply(here.plan(), here.kernel))
    assert node.gateway_to("10.1.0.17") == "10.99.0.2"
    assert parse_prefix("10.3.0.0/28") not in here.kernel.routes


def test_only_the_first_few_of_many_failures_are_named(node: Namespace, here: Here, objects: bool) -> None:
    here.feed(*PAIR)
    here.kernel.links[parse_address("192.0.2.9")] = here.kernel.links[parse_address("10.99.0.2")]
    evolve(here.state, placed("bad", "192.0.2.9"), 1)
    for number in range(1000):
        evolve(here.state, block("bad", f"10.3.{number >> 3}.{(number & 7) * 32}/28"), 1)
    with pytest.raises(Unapplied, match=r"; and (997|998) more$"):
        list(here.forwarding.apply(here.plan(), here.kernel))


def test_nexthop_of_a_failed_route_stays(node: Namespace, here: Here, objects: bool) -> None:
    """Blocks merge, but the aggregate is refused: the parts are all there is."""
    here.feed(*PAIR)
    evolve(here.state, block("you", "10.1.1.16/28"), 1)
    delta = here.plan()
    number = here.kernel.routes[parse_prefix("10.1.1.0/28")]
    gone = here.kernel.nexthops[number]
    if objects:
        node.ip("nexthop", "del", "id", str(number))
    else:
        here.kernel.nexthops[number] = (32, parse_address("192.0.2.9")[1], gone[2])
    with pytest.raises(Unapplied):
        list(here.forwarding.apply(delta, here.kernel))
    assert parse_prefix("10.1.1.0/28") in here.kernel.routes


def test_a_route_with_our_mark_and_another_metric_is_not_the_wanted_one(
    node: Namespace, here: Here, objects: bool
) -> None:
    """Also beside ours, where ours is there already."""
    for _ in range(2):
        node.ip("route", "add", "10.1.0.16/28", "via", "10.99.0.2", "proto", "82", "metric", "7")
        node.ip("route", "add", "10.1.1.0/28", "via", "10.99.0.77", "proto", "82")
        node.ip("-6", "route", "add", "fd01::10/124", "via", "fd99::2", "proto", "82", "metric", "7")
        node.ip("route", "add", "unreachable", "10.1.0.0/16", "proto", "82", "metric", "7")
        here.feed(*PAIR, full=True)
        shown = [(route.destination, route.metric) for route in node.routes(BLOCKS)]
        assert sorted(shown) == [
            ("10.1.0.0/16", 82_000_000),
            ("10.1.0.16/28", 8200),
            ("10.1.1.0/28", 8200),
            ("fd01::/64", 82_000_000),
            ("fd01::10/124", 8200),
        ]
        assert here.feed(full=True) == 0


def test_nexthop_used_by_foreign_routes_stays(node: Namespace) -> None:
    with node.entered(), Forwarding() as opened:
        here = Here(opened)
        here.feed(*PAIR)
        node.ip("route", "add", "10.7.7.0/24", "nhid", str(FIRST))
        node.ip("-6", "route", "add", "fd07::/64", "nhid", str(FIRST + 1), "table", "7")
        refused = (
            r"nexthop \d+ cannot be deleted: a route of another owner to 10\.7\.7\.0/24 uses it; "
            r"nexthop .* fd07::/64"
        )
        for full in (False, True):
            with pytest.raises(Unapplied, match=refused):
                here.feed(removed("you"), full=full)
            assert gateways(node.routes())["10.7.7.0/24"] == "10.99.0.2"
            assert gateways(node.routes(table=7)) == {"fd07::/64": "fd99::2"}
            assert [route.kind for route in node.routes(BLOCKS)] == ["unreachable"] * 2
        node.ip("route", "del", "10.7.7.0/24")
        node.ip("-6", "route", "del", "fd07::/64", "table", "7")
        here.feed(full=True)
        assert node.nexthops() == {}


def test_nothing_is_removed_above_the_limit_of_missing_routes(
    node: Namespace, here: Here, objects: bool
) -> None:
    here.feed(*PAIR)
    here.kernel.links[parse_address("192.0.2.9")] = here.kernel.links[parse_address("10.99.0.2")]
    missing = [block("bad", f"10.3.{at >> 3}.{(at & 7) * 32}/28") for at in range(HELD + 1)]
    for event in [placed("bad", "192.0.2.9"), released("you", "10.1.1.0/28"), *missing]:
        evolve(here.state, event, 1)
    with pytest.raises(Unapplied):
        list(here.forwarding.apply(here.plan(), here.kernel))
    assert gateways(node.routes())["10.1.1.0/28"] == "10.99.0.2"
    here.feed(placed("bad", "10.99.0.9"), full=True)
    assert "10.1.1.0/28" not in gateways(node.routes())
    assert len(node.routes(BLOCKS)) == 2 + 2 + len(missing)


def test_10_000_routes_in_a_few_batches(node: Namespace, here: Here, objects: bool) -> None:
    hosts = [placed(f"n{at}", f"10.99.{1 + at // 200}.{at % 200}") for at in range(1000)]
    blocks = [
        block(f"n{at % 1000}", f"10.{16 + (at >> 12)}.{at >> 4 & 255}.{(at & 15) * 16}/28")
        for at in range(3000)
    ]
    assert here.feed(*hosts, *blocks) >= 3000
    shown = node.routes(BLOCKS)
    assert len(shown) == 3000
    assert here.feed(full=True) == 0
    assert as_read(here.kernel) == gateways(shown)


def as_read(kernel: Kernel) -> dict[str, str]:
    """Prefix -> gateway, as our own dump has them."""
    return {
        str(prefix): format_address(*kernel.nexthops[number][:2]) for prefix, number in kernel.routes.items()
    }


def test_switching_between_objects_and_gateways_keeps_the_routes(node: Namespace) -> None:
    """As after another kernel was booted, or another option was given."""
    with node.entered():
        for objects in (True, False, True):
            with Forwarding(objects) as opened:
                here = Here(opened)
                here.feed(*PAIR)
                assert len(node.routes(BLOCKS)) == 5
                leading = [route for route in node.routes(BLOCKS) if route.kind == "unicast"]
                assert [route.by_object for route in leading] == [objects] * 3
                assert bool(node.nexthops()) == objects
                assert here.feed(full=True) == 0


def test_kernel_without_nexthop_objects_gets_gateway_routes(
    node: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for something that this kernel does not know either."""
    monkeypatch.setattr(nexthops, "dump_all", lambda: message(250, 0, bytes(8)))
    with node.inside(Forwarding) as opened:
        here = Here(opened)
        here.feed(*PAIR)
        assert not here.kernel.objects
        assert len(node.routes(BLOCKS)) == 5
        assert not any(route.by_object for route in node.routes())
        assert here.feed(full=True) == 0


@pytest.mark.parametrize(
    ("address", "on_link"),
    [
        ("10.99.3.4", True),
        ("fd99::44", True),
        ("192.0.2.1", False),  # by the default route
        ("2001:db8::1", False),
        ("10.99.0.1", False),  # our own
        ("fd99::1", False),
        ("127.0.0.5", False),
        ("10.98.0.1", False),  # barred
    ],
)
def test_on_link_matches_the_kernel(node: Namespace, address: str, on_link: bool) -> None:
    node.ip("route", "add", "unreachable", "10.98.0.0/16")
    with node.entered(), Forwarding() as opened:
        asked = parse_address(address)
        [answers] = opened.ask([asked])
        assert answers[asked] == (kernel.links(node.name)["eth0"].ifindex if on_link else 0)
    route = kernel.route_to(node.name, address)
    assert on_link == (route is not None and (route.kind, route.gateway) == ("unicast", ""))


def test_without_any_route_nothing_is_on_link() -> None:
    with namespace("bare") as bare, bare.entered(), Forwarding() as opened:
        [answers] = opened.ask([parse_address("10.99.0.2"), parse_address("fd99::2")])
        assert set(answers.values()) == {0}
