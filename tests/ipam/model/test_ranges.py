"""Ranges against the sets of integers that they stand for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from romana_bus.ipam.model.ranges import Ranges

spans = st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda span: (span[0], span[0] + span[1]))
changes = st.lists(st.tuples(st.booleans(), spans), max_size=12)


def build(steps: list[tuple[bool, tuple[int, int]]]) -> tuple[Ranges, set[int]]:
    ranges, model = Ranges(), set[int]()
    for put, (start, end) in steps:
        if put:
            ranges.add(start, end)
            model |= set(range(start, end))
        else:
            ranges.remove(start, end)
            model -= set(range(start, end))
    return ranges, model


@given(changes)
def test_ranges_match_a_set_of_addresses_and_are_merged(
    steps: list[tuple[bool, tuple[int, int]]],
) -> None:
    ranges, model = build(steps)
    assert {value for a, b in ranges.within(0, 60) for value in range(a, b)} == model
    gaps = zip(ranges.ends, ranges.starts[1:], strict=False)
    assert all(end < start for end, start in gaps)


@given(changes, spans)
def test_queries_on_a_part(steps: list[tuple[bool, tuple[int, int]]], span: tuple[int, int]) -> None:
    ranges, model = build(steps)
    part = model & set(range(*span))
    assert ranges.count(*span) == len(part)
    assert ranges.holds(*span) == (len(part) == span[1] - span[0])
    assert ranges.mask(*span) == sum(1 << (value - span[0]) for value in part)
    assert ranges.reach(span[0]) == next(v for v in range(span[0], 80) if v not in model)


@given(changes, changes, st.sampled_from([1, 2, 4, 8]))
def test_lowest_aligned_prefix_with_free_addresses(
    steps: list[tuple[bool, tuple[int, int]]], closing: list[tuple[bool, tuple[int, int]]], size: int
) -> None:
    (free, model), (shut, closed) = build(steps), build(closing)
    places = (set(range(at, at + size)) for at in range(0, 60, size))
    fit = (min(place) for place in places if place <= model and not place <= closed)
    assert free.lowest(size, shut) == next(fit, None)
