"""The end depends on the present alone: written histories in twenty-four variants, and random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from romana_bus.inet import Prefix, parse_prefix
from romana_bus.routing.routes.aggregate import aggregate
from tests import histories
from tests.routing.routes.hosts_and_blocks import PAIR, block, denied, placed, released, removed
from tests.routing.routes.node_in_memory import World

if TYPE_CHECKING:
    from romana_bus.events import Event
    from tests.histories import History

HISTORIES: dict[str, History] = {
    "a pair": [PAIR],
    "a host comes and goes": [
        PAIR,
        [placed("they", "10.99.0.3"), block("they", "10.1.2.0/28")],
        [removed("they")],
    ],
    "an address changes": [PAIR, [placed("you", "10.99.0.9")], [placed("you", "192.0.2.1")]],
    "blocks merge and split": [
        PAIR,
        [block("you", "10.1.1.16/28"), block("you", "10.1.0.0/28", 7)],
        [released("you", "10.1.1.0/28"), denied("they")],
    ],
    "a block moves": [
        PAIR,
        [placed("they", "10.99.0.3"), block("they", "10.1.0.16/28", 4)],
        [released("you", "10.1.0.16/28")],
    ],
    "we are moved": [
        PAIR,
        [placed("me", "10.99.0.1", groups=("10.2.0.0/16",))],
        [block("me", "10.2.0.0/28")],
    ],
}


def played(history: History) -> World:
    world = World()
    for step in history:
        world.feed(*step)
    return world


def end(world: World) -> tuple[object, ...]:
    assert len(world.settle()) == 0
    return world.routes, world.unreachable, len(world.kernel.nexthops)


def exact(world: World) -> object:
    """Numbers of nexthops are chosen on the way; duplicates and empties change nothing of it."""
    return world.kernel.nexthops, sorted(world.kernel.routes.items())


@pytest.mark.parametrize("name", HISTORIES)
def test_every_variant_of_a_history_ends_the_same(name: str) -> None:
    histories.check(HISTORIES[name], played, end, exact)


NODES = ("me", "you", "they", "far")
ADDRESSES = {"me": "10.99.0.1", "you": "10.99.0.2", "they": "10.99.0.3", "far": "192.0.2.1"}
BLOCKS = [f"10.1.0.{at * 16}/28" for at in range(8)] + [f"fd01::{at:x}0/124" for at in range(4)]


@st.composite
def events(draw: st.DrawFn) -> Event:
    node = draw(st.sampled_from(NODES))
    match draw(st.sampled_from(["placed", "moved", "removed", "denied", "block", "block", "released"])):
        case "placed":
            groups = draw(st.sampled_from([(), ("10.1.0.0/24",)]))
            return placed(node, ADDRESSES[node], f"fd99::{NODES.index(node)}", groups=groups)
        case "moved":
            return placed(node, draw(st.sampled_from(["10.99.0.77", "10.99.0.78", "192.0.2.9"])))
        case "removed":
            return removed(node)
        case "denied":
            return denied(node)
        case "block":
            return block(node, draw(st.sampled_from(BLOCKS)), draw(st.integers(1, 3)))
    return released(node, draw(st.sampled_from(BLOCKS)))


@given(st.lists(st.lists(events(), max_size=4), max_size=8), st.booleans(), st.data())
@settings(max_examples=200)
def test_stepwise_and_restarted_runs_end_like_one_batch(
    history: History, objects: bool, data: st.DataObject
) -> None:
    """Every step is applied by a kernel that notices gaps, routes without nexthop, and the like."""
    once = World(objects=objects)
    stepwise = World(objects=objects)
    past: list[Event] = [denied("me")]  # a map that does not know us sweeps nothing
    once.feed(*past)
    stepwise.feed(*past)
    once.feed(*(event for step in history for event in step))
    for step in history:
        past += step
        if data.draw(st.booleans()):
            stepwise.restarted()
            stepwise.feed(*past)
        else:
            stepwise.feed(*step)
    assert end(stepwise) == end(once)
    stepwise.kernel.fresh = True
    assert len(stepwise.settle()) == 0
    stepwise.restarted()
    assert len(stepwise.feed(*past)) == 0


@given(st.sets(st.integers(0, 63), max_size=40), st.sampled_from([32, 128]))
def test_an_aggregate_covers_exactly_its_blocks_in_the_fewest_prefixes(blocks: set[int], width: int) -> None:
    length = width - 4
    merged = aggregate(Prefix(width, at << 4, length) for at in blocks)
    assert {at >> 4 for route in merged for at in range(route.base, route.end, 16)} == blocks
    assert sum(route.size for route in merged) == len(blocks) << 4
    ends = {route.end: route for route in merged}
    for route in merged:
        before = ends.get(route.base)
        assert before is None or before.length != route.length or before.base & route.size


def test_nested_prefix_is_covered_and_hides_nothing() -> None:
    texts = (
        "10.0.0.0/24",
        "10.0.0.0/28",
        "10.0.0.240/28",
        "10.0.2.0/28",
        "fd00::/64",
        "fd00::10/124",
        "fd00:1::/64",
    )
    merged = aggregate(parse_prefix(text) for text in texts)
    assert [str(route) for route in merged] == ["10.0.0.0/24", "10.0.2.0/28", "fd00::/64", "fd00:1::/64"]
