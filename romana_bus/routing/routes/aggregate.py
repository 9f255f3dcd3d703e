"""Aggregation: contiguous blocks of one host become one route, where that is exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.inet import Prefix

if TYPE_CHECKING:
    from collections.abc import Iterable


def aggregate(blocks: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """The fewest prefixes that cover exactly these, in order. Two halves of a prefix become that prefix; a
    block inside another one is dropped."""
    ordered = sorted(blocks)
    if len(ordered) < 2:
        return tuple(ordered)
    merged: list[Prefix] = []
    covered = 0  # the end of what is merged, in the current family
    for block in ordered:
        width, base, length = block
        if merged and base < covered and width == merged[-1][0]:
            continue
        covered = base + (1 << (width - length))
        merged.append(block)
        while len(merged) > 1 and _halves(merged[-2], merged[-1]):
            width, base, length = merged[-2]
            merged[-2:] = [Prefix(width, base, length - 1)]
    return tuple(merged)


def _halves(low: Prefix, high: Prefix) -> bool:
    """Whether they are the two halves of one prefix, the lower one first."""
    width, base, length = low
    return (
        length == high[2]
        and width == high[0]
        and base ^ high[1] == 1 << (width - length)
        and not base >> (width - length) & 1
    )
