"""Sets of integers as sorted, disjoint ranges: the free space of a group, or reserved addresses.

The cost of every operation grows with the number of ranges, never with the number of addresses.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ranges:
    """Ranges `[start, end)`. Ranges that touch are merged."""

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        first, behind = bisect_left(self.ends, start), bisect_right(self.starts, end)
        if first < behind:
            start, end = min(start, self.starts[first]), max(end, self.ends[behind - 1])
        self.starts[first:behind] = [start]
        self.ends[first:behind] = [end]

    def remove(self, start: int, end: int) -> None:
        first, behind = bisect_right(self.ends, start), bisect_left(self.starts, end)
        if first >= behind:
            return
        left, right = self.starts[first], self.ends[behind - 1]
        rest = [(a, b) for a, b in ((left, start), (end, right)) if a < b]
        self.starts[first:behind] = [a for a, _ in rest]
        self.ends[first:behind] = [b for _, b in rest]

    def holds(self, start: int, end: int) -> bool:
        """Whether all of `[start, end)` is in the set."""
        return self.reach(start) >= end

    def reach(self, value: int) -> int:
        """The end of the range that contains `value`, or `value` itself where no range does."""
        last = bisect_right(self.starts, value) - 1
        return self.ends[last] if last >= 0 and self.ends[last] > value else value

    def within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yields the parts of `[start, end)` that are in the set."""
        for number in range(bisect_right(self.ends, start), bisect_left(self.starts, end)):
            yield max(start, self.starts[number]), min(end, self.ends[number])

    def count(self, start: int, end: int) -> int:
        """How many integers of `[start, end)` are in the set."""
        return sum(b - a for a, b in self.within(start, end))

    def mask(self, start: int, end: int) -> int:
        """An integer whose bit n is set where `start + n` is in the set."""
        return sum(((1 << (b - a)) - 1) << (a - start) for a, b in self.within(start, end))

    def lowest_in(self, start: int, end: int, excluded: Ranges) -> int | None:
        """The lowest integer of `[start, end)` that is in the set and not in `excluded`."""
        for first, behind in self.within(start, end):
            if (value := excluded.reach(first)) < behind:
                return value
        return None

    def lowest(self, size: int, excluded: Ranges) -> int | None:
        """The lowest aligned run of `size` integers in the set that is not wholly in `excluded`."""
        for start, end in zip(self.starts, self.ends, strict=True):
            first = (start + size - 1) & -size
            while first + size <= end:
                behind = excluded.reach(first)
                if behind < first + size:
                    return first
                first = behind & -size
        return None
