"""Sets of integers as sorted, disjoint ranges: the free room of a group, the addresses reserved.

The cost of every operation grows with the number of ranges, never with the number of addresses.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ranges:
    """`[start, end)` ranges; touching ones are merged."""

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
        """All of `[start, end)` is in here."""
        return self.reach(start) >= end

    def reach(self, value: int) -> int:
        """The end of the range that `value` is in, or `value` itself where it is in none."""
        at = bisect_right(self.starts, value) - 1
        return self.ends[at] if at >= 0 and self.ends[at] > value else value

    def within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """What of `[start, end)` is in here."""
        for at in range(bisect_right(self.ends, start), bisect_left(self.starts, end)):
            yield max(start, self.starts[at]), min(end, self.ends[at])

    def count(self, start: int, end: int) -> int:
        return sum(b - a for a, b in self.within(start, end))

    def mask(self, start: int, end: int) -> int:
        """Bit n is set where `start + n` is in here."""
        return sum(((1 << (b - a)) - 1) << (a - start) for a, b in self.within(start, end))

    def lowest(self, size: int, shut: Ranges) -> int | None:
        """The lowest aligned `size` integers in here that are not all in `shut`."""
        for start, end in zip(self.starts, self.ends, strict=True):
            at = (start + size - 1) & -size
            while at + size <= end:
                behind = shut.reach(at)
                if behind < at + size:
                    return at
                at = behind & -size
        return None
