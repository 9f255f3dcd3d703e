"""Which routes a node should have, and in what steps it gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.routing import derive, plan, standing
from romana_bus.routing.routes.nexthop_ids import GATEWAYS, OBJECTS
from tests.routing.routes.hosts_and_blocks import PAIR, block, denied, placed, released, removed
from tests.routing.routes.node_in_memory import World, world_after

if TYPE_CHECKING:
    from romana_bus.events import Event

FIRST = OBJECTS.start
gateways_too = pytest.mark.parametrize("objects", [True, False], ids=["objects", "gateways"])


@gateways_too
def test_each_block_of_an_on_link_host_leads_to_that_host_in_both_families(objects: bool) -> None:
    world = World(objects=objects)
    world.feed(*PAIR)
    assert world.routes == {
        "10.1.0.16/28": "10.99.0.2",
        "10.1.1.0/28": "10.99.0.2",
        "fd01::10/124": "fd99::2",
    }


def test_one_nexthop_for_each_host_and_family() -> None:
    delta = world_after().feed(*PAIR)
    assert [number for number, _ in delta.created] == [FIRST, FIRST + 1]
    assert {via[0] for _, via in delta.created} == {32, 128}


def test_repeated_events_change_nothing() -> None:
    world = world_after(PAIR)
    assert len(world.feed()) == 0
    assert len(world.feed(*PAIR)) == 0
    world.kernel.fresh = True
    assert len(world.feed()) == 0


def test_a_changed_address_is_one_nexthop_and_no_route() -> None:
    world = world_after(PAIR)
    delta = world.feed(placed("you", "10.99.0.7", "fd99::2"))
    assert [(number, via[1] & 255) for number, via in delta.changed] == [(FIRST, 7)]
    assert len(delta) == 1
    assert world.routes["10.1.0.16/28"] == "10.99.0.7"


def test_without_objects_a_changed_address_moves_each_route() -> None:
    world = World(objects=False)
    world.feed(*PAIR)
    delta = world.feed(placed("you", "10.99.0.7", "fd99::2"))
    assert [str(route) for route, _, _ in delta.moved] == ["10.1.0.16/28", "10.1.1.0/28"]
    assert not delta.changed
    assert not delta.removed
    assert world.routes["10.1.0.16/28"] == "10.99.0.7"


@pytest.mark.parametrize("end", [removed("you"), denied("you")])
@gateways_too
def test_a_host_gone_loses_its_routes_and_then_its_nexthops(objects: bool, end: Event) -> None:
    world = World(objects=objects)
    world.feed(*PAIR)
    delta = world.feed(end)
    assert len(delta.removed) == 3
    assert len(delta.deleted) == 2
    assert world.routes == {}
    assert world.kernel.nexthops == {}


def test_deleted_host_is_forgotten() -> None:
    world = world_after(PAIR)
    world.feed(
        removed("you"),
        released("you", "10.1.0.16/28"),
        released("you", "10.1.1.0/28"),
        released("you", "fd01::10/124"),
    )
    assert list(world.state.hosts) == ["me"]
    assert world.state.owners.keys() == world.state.hosts["me"].blocks.keys()
    assert not world.state.wanted
    assert not world.state.vias
    assert world.state.ids == {32: {}, 128: {}}


def test_the_own_groups_are_unreachable_and_own_blocks_outside_of_them() -> None:
    world = world_after(PAIR)
    assert world.unreachable == ["10.1.0.0/16", "fd01::/64"]
    world.feed(block("me", "10.7.0.0/28"), block("me", "10.1.9.0/28"))
    assert world.unreachable == ["10.1.0.0/16", "10.7.0.0/28", "fd01::/64"]
    world.feed(removed("me"))
    assert world.unreachable == ["10.1.0.0/28", "10.1.9.0/28", "10.7.0.0/28"]
    assert world.state.own_blocks == 3


def test_blocks_of_a_host_that_is_not_on_link_get_no_route_and_are_counted() -> None:
    world = world_after(
        PAIR, [placed("far", "192.0.2.9"), block("far", "10.2.0.0/28"), block("far", "10.1.5.0/28")]
    )
    assert world.way("10.2.0.1") == "default"
    assert standing(world.state, world.kernel) == {
        "routes": 3,
        "nexthops": 2,
        "unreachable": 2,
        "hosts on link": 1,
        "hosts off link": 1,
        "blocks by default route": 1,
        "blocks cut off": 1,  # inside our own group, whose `unreachable` comes first
        "routes refused": 0,
    }


def test_of_a_hosts_addresses_the_first_that_is_on_link_is_taken() -> None:
    world = world_after(PAIR, [placed("you", "192.0.2.1", "10.99.0.8", "10.99.0.9", "fd99::2")])
    assert world.routes["10.1.1.0/28"] == "10.99.0.8"


def test_a_host_that_comes_on_link_gets_its_routes_and_loses_them_when_it_goes() -> None:
    world = world_after(PAIR, [placed("far", "192.0.2.9"), block("far", "10.2.0.0/28")])
    world.links["192.0.2."] = 5
    world.ask_again()
    world.settle()
    assert world.routes["10.2.0.0/28"] == "192.0.2.9"
    del world.links["192.0.2."]
    world.ask_again()
    delta = world.settle()
    assert (len(delta.removed), len(delta.deleted)) == (1, 1)


def test_contiguous_blocks_become_one_route_made_before_its_parts_go() -> None:
    world = world_after(PAIR)
    delta = world.feed(block("you", "10.1.0.0/28", 9), block("you", "10.1.1.16/28"))
    assert world.routes == {"10.1.0.0/27": "10.99.0.2", "10.1.1.0/27": "10.99.0.2", "fd01::10/124": "fd99::2"}
    assert [str(route) for route, _ in delta.added] == ["10.1.0.0/27", "10.1.1.0/27"]
    assert [str(route) for route, _ in delta.removed] == ["10.1.0.16/28", "10.1.1.0/28"]
    delta = world.feed(released("you", "10.1.1.0/28"))
    assert [str(route) for route, _ in delta.added] == ["10.1.1.16/28"]
    assert [str(route) for route, _ in delta.removed] == ["10.1.1.0/27"]


@pytest.mark.parametrize("released_first", [True, False])
def test_a_block_that_moves_is_never_without_a_route(released_first: bool) -> None:
    world = world_after(PAIR, [placed("they", "10.99.0.3"), block("they", "10.1.4.0/28")])
    steps = [released("you", "10.1.0.16/28"), block("they", "10.1.0.16/28", 5)]
    delta = world.feed(*(steps if released_first else reversed(steps)))
    assert [(str(route), new, old) for route, new, old in delta.moved] == [("10.1.0.16/28", FIRST + 2, FIRST)]
    assert not delta.removed
    assert world.routes["10.1.0.16/28"] == "10.99.0.3"


def test_later_claim_of_a_block_wins_in_any_order() -> None:
    late, early = block("they", "10.1.0.16/28", 5), block("you", "10.1.0.16/28", 1)
    for order in ([late, early], [early, late]):
        world = world_after([placed("they", "10.99.0.3"), placed("you", "10.99.0.2")], order)
        assert world.routes == {"10.1.0.16/28": "10.99.0.3"}
        world.feed(released("they", "10.1.0.16/28"))
        assert world.routes == {"10.1.0.16/28": "10.99.0.2"}
        assert not world.state.competing


def test_simultaneous_claims_of_a_block_are_resolved_alike_on_every_node() -> None:
    claims = [block("they", "10.1.0.16/28", 5), block("you", "10.1.0.16/28", 5)]
    for order in (claims, claims[::-1]):
        world = world_after([placed("they", "10.99.0.3"), placed("you", "10.99.0.2")], order)
        assert world.routes == {"10.1.0.16/28": "10.99.0.2"}


@gateways_too
def test_a_restart_with_nothing_changed_changes_nothing(objects: bool) -> None:
    world = World(objects=objects)
    world.feed(placed("they", "10.99.0.3"), block("they", "10.1.9.0/28"), *PAIR)
    world.feed(removed("they"))  # leaves a hole in the ids
    world.restarted()
    assert len(world.feed(*PAIR)) == 0


def test_a_host_whose_address_changed_while_we_were_away_is_still_one_replace() -> None:
    world = world_after([placed("they", "10.99.0.3"), block("they", "10.1.9.0/28"), *PAIR])
    world.restarted()
    delta = world.feed(
        placed("they", "10.99.0.3"),
        block("they", "10.1.9.0/28"),
        *PAIR[:1],
        placed("you", "10.99.0.66", "fd99::2"),
        *PAIR[2:],
    )
    assert [via[1] & 255 for _, via in delta.changed] == [66]
    assert len(delta) == 1


@gateways_too
@pytest.mark.parametrize("order", [("they", "you"), ("you", "they")])
def test_two_hosts_with_one_address_keep_their_nexthops_over_a_restart(
    objects: bool, order: tuple[str, ...]
) -> None:
    """Of a node that was replaced under another name, the old one is still on the map for a while."""
    both = {name: [placed(name, "10.99.0.7"), block(name, f"10.1.{len(name)}.0/28")] for name in order}
    world = World(objects=objects)
    world.feed(*PAIR[:1], *both[order[0]])
    world.feed(*both[order[1]])
    before = world.routes
    world.restarted()
    assert len(world.feed(*PAIR[:1], *both["they"], *both["you"])) == 0
    assert world.routes == before


def test_host_with_only_new_blocks_after_a_restart_keeps_its_nexthop() -> None:
    world = world_after(PAIR)
    world.restarted()
    delta = world.feed(*PAIR[:3], block("you", "10.1.9.0/28"), block("you", "fd01::90/124"))
    assert (delta.created, delta.changed, delta.deleted) == ([], [], [])
    assert [str(route) for route, _ in delta.added] == ["10.1.9.0/28", "fd01::90/124"]


def test_unwanted_routes_are_removed_after_the_table_was_read() -> None:
    world = world_after(PAIR)
    world.restarted()
    delta = world.feed(*PAIR[:1])
    assert (len(delta.removed), len(delta.deleted)) == (3, 2)


def test_no_sweep_while_the_own_node_is_missing_from_the_map() -> None:
    """The log may have been lost, and be in the making: the routes are all that still works."""
    world = world_after(PAIR)
    before = world.routes, world.unreachable
    world.restarted()
    assert len(world.feed()) == 0
    assert len(world.feed(placed("they", "10.99.0.3"))) == 0
    world.feed(block("they", "10.1.0.16/28"))
    assert world.routes == before[0] | {"10.1.0.16/28": "10.99.0.3"}
    world.feed(released("they", "10.1.0.16/28"))
    world.feed(*PAIR[:1])
    assert world.routes == {}
    assert world.unreachable == before[1]


def test_invalid_host_addresses_get_no_route() -> None:
    world = world_after(PAIR, [placed("you", "node-1.example", "", "10.99.0.2/24", "10.99.0.5")])
    assert world.routes["10.1.1.0/28"] == "10.99.0.5"


@gateways_too
def test_nexthop_id_taken_by_another_while_its_routes_end(objects: bool) -> None:
    world = World(objects=objects)
    world.feed(placed("you", "10.99.0.2"), block("you", "10.1.1.0/28"), *PAIR[:1])
    [number] = world.kernel.nexthops
    kernel = world.kernel
    kernel.nexthops, kernel.routes, kernel.foreign, kernel.fresh = {}, {}, {number}, True
    world.links.clear()
    world.ask_again()
    assert len(world.settle()) == 0
    assert not world.state.wanted
    world.links["10.99.0."] = 2
    world.ask_again()
    world.settle()
    assert world.routes == {"10.1.1.0/28": "10.99.0.2"}
    assert number not in world.kernel.nexthops


def test_new_ids_are_the_lowest_free_ones_and_none_is_given_twice_in_one_delta() -> None:
    world = world_after(PAIR)
    world.kernel.foreign = {FIRST + 2}
    delta = world.feed(
        placed("they", "10.99.0.3"), block("they", "10.1.9.0/28"), removed("you"), denied("nobody")
    )
    assert [number for number, _ in delta.created] == [FIRST + 3]
    delta = world.feed(placed("we", "10.99.0.4"), block("we", "10.1.10.0/28"))
    assert [number for number, _ in delta.created] == [FIRST]


def test_nexthop_id_taken_by_another_is_given_up() -> None:
    world = world_after(PAIR)
    del world.kernel.nexthops[FIRST]
    world.kernel.routes = {route: number for route, number in world.kernel.routes.items() if number != FIRST}
    world.kernel.foreign, world.kernel.fresh = {FIRST}, True
    delta = world.feed()
    assert [number for number, _ in delta.created] == [FIRST + 2]
    assert world.routes["10.1.1.0/28"] == "10.99.0.2"


def test_a_second_route_to_a_prefix_is_removed_and_the_wanted_one_stays() -> None:
    world = world_after(PAIR)
    route = next(iter(world.kernel.routes))
    leftover = GATEWAYS.start
    world.kernel.nexthops[leftover] = (32, 0x0A630009, 2)
    world.kernel.surplus, world.kernel.routes[route] = [(route, world.kernel.routes[route])], leftover
    world.kernel.fresh = True
    derive(world.state, world.kernel)
    delta = plan(world.state, world.kernel)
    assert (delta.removed, delta.deleted, len(delta)) == ([(route, leftover)], [leftover], 2)
    assert world.kernel.routes[route] == FIRST
