"""How full prefixes are."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from romana_bus.inet import Prefix
    from romana_bus.ipam.blocks import Block
    from romana_bus.ipam.ranges import Ranges
    from romana_bus.ipam.state import State


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """used + cooling + reserved + free = size. A reserved address that is in use counts as used."""

    size: int
    used: int
    cooling: int
    reserved: int
    free: int
    blocks: int


class Sums:
    """Sums over the blocks of one family, so that those inside a prefix are one subtraction."""

    def __init__(self, state: State, width: int) -> None:
        self.reserved = state.reserved_in(width)
        self.blocks = sorted(
            (b for b in state.blocks.values() if b.prefix.width == width and (b.node or not b.idle)),
            key=lambda block: block.prefix,
        )
        self.bases = [block.prefix.base for block in self.blocks]
        counts = [count(self.reserved, block, block.prefix) for block in self.blocks]
        self.sums = [[0, *accumulate(column)] for column in zip(*counts, strict=True)] or [[0]] * 4

    def room(self, prefix: Prefix) -> Room:
        at = bisect_right(self.bases, prefix.base) - 1
        if at >= 0 and self.blocks[at].prefix.contains(prefix):
            used, cool, both, owned = count(self.reserved, self.blocks[at], prefix)
        else:
            start, end = bisect_left(self.bases, prefix.base), bisect_left(self.bases, prefix.end)
            used, cool, both, owned = (column[end] - column[start] for column in self.sums)
        reserved = self.reserved.count(prefix.base, prefix.end) - both
        free = prefix.size - used - cool - reserved
        return Room(size=prefix.size, used=used, cooling=cool, reserved=reserved, free=free, blocks=owned)


def count(reserved: Ranges, block: Block, prefix: Prefix) -> tuple[int, int, int, int]:
    """Of the part of the block that is in `prefix`: used, cooling, either of them and reserved too; and
    whether the block is somebody's."""
    part = ((1 << prefix.size) - 1) << (prefix.base - block.prefix.base) & block.full
    used, cool = block.used & part, block.cool & ~block.used & part
    both = (used | cool) & reserved.mask(block.prefix.base, block.prefix.end)
    return used.bit_count(), cool.bit_count(), both.bit_count(), bool(block.node)
