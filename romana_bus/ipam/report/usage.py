"""How full prefixes are."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

from romana_bus.inet import V4, V6, Prefix
from romana_bus.ipam.model.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.topology.tree import Leaf


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """used + cooling + reserved + free = size. A reserved address that is in use counts as used.

    `fragmented`: the free addresses that lie in a block of which another address is used or cools, so
    that only the block's owner can have them. All others are free in whole blocks: nobody's, or some
    host's spare one, which it gives up to whoever needs it. Where a smaller block of former times is in
    use, what counts is the whole block of today's size around it: nobody can open that."""

    size: int
    used: int
    cooling: int
    reserved: int
    free: int
    blocks: int
    fragmented: int = 0

    @property
    def fragmentation(self) -> float:
        """The fragmented ones among the free addresses, in percent. 0 where nothing is free."""
        return 100 * self.fragmented / self.free if self.free else 0.0


def total(rooms: Iterable[Room]) -> Room:
    """Of prefixes that do not overlap."""
    found = list(rooms)
    fields = Room.__struct_fields__
    return Room(**{field: sum(getattr(room, field) for room in found) for field in fields})


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
        self.begun = _begun(state, self.blocks)
        self.begun_bases = [prefix.base for prefix in self.begun]
        self.begun_free = [0, *accumulate(self._free(prefix) for prefix in self.begun)]

    def within(self, prefix: Prefix) -> list[Block]:
        """The blocks that begin in it, or contain it."""
        start, end = bisect_left(self.bases, prefix.base), bisect_left(self.bases, prefix.end)
        around = self.blocks[max(start - 1, 0) : start]
        return [block for block in around if block.prefix.contains(prefix)] + self.blocks[start:end]

    def room(self, prefix: Prefix) -> Room:
        used, cool, both, owned = self._counts(prefix)
        reserved = self.reserved.count(prefix.base, prefix.end) - both
        free = prefix.size - used - cool - reserved
        return Room(
            size=prefix.size, used=used, cooling=cool, reserved=reserved, free=free, blocks=owned,
            fragmented=self._fragmented(prefix, free),
        )  # fmt: skip

    def _fragmented(self, prefix: Prefix, free: int) -> int:
        at = bisect_right(self.begun_bases, prefix.base) - 1
        if at >= 0 and self.begun[at].contains(prefix):
            return free
        start, end = (bisect_left(self.begun_bases, bound) for bound in (prefix.base, prefix.end))
        return self.begun_free[end] - self.begun_free[start]

    def _free(self, prefix: Prefix) -> int:
        used, cool, both, _ = self._counts(prefix)
        return prefix.size - used - cool - self.reserved.count(prefix.base, prefix.end) + both

    def _counts(self, prefix: Prefix) -> tuple[int, int, int, int]:
        at = bisect_right(self.bases, prefix.base) - 1
        if at >= 0 and self.blocks[at].prefix.contains(prefix):
            return count(self.reserved, self.blocks[at], prefix)
        start, end = bisect_left(self.bases, prefix.base), bisect_left(self.bases, prefix.end)
        used, cool, both, owned = (column[end] - column[start] for column in self.sums)
        return used, cool, both, owned


def both_families(state: State) -> dict[int, Sums]:
    return {width: Sums(state, width) for width in (V4, V6)}


def _begun(state: State, blocks: Iterable[Block]) -> list[Prefix]:
    """The blocks of which some address is used or cools, each as large as a block is there today, if it
    is smaller. Sorted and disjoint."""
    found: list[Prefix] = []
    for block in blocks:
        if block.idle:
            continue
        prefix, leaf = block.prefix, state.topology.leaf_of(block.prefix)
        if leaf and leaf.block_length < prefix.length:
            base = prefix.base >> (prefix.width - leaf.block_length) << (prefix.width - leaf.block_length)
            prefix = Prefix(prefix.width, base, leaf.block_length)
        while found and prefix.contains(found[-1]):
            found.pop()
        if not found or not found[-1].overlaps(prefix):
            found.append(prefix)
    return found


def count(reserved: Ranges, block: Block, prefix: Prefix) -> tuple[int, int, int, int]:
    """Of the part of the block that is in `prefix`: used, cooling, either of them and reserved too; and
    whether the block is somebody's."""
    part = ((1 << prefix.size) - 1) << (prefix.base - block.prefix.base) & block.full
    used, cool = block.used & part, block.cool & ~block.used & part
    both = (used | cool) & reserved.mask(block.prefix.base, block.prefix.end)
    return used.bit_count(), cool.bit_count(), both.bit_count(), bool(block.node)


def whole_block(leaf: Leaf, taken: Sequence[Block], reserved: Ranges) -> bool:
    """Some block of today's size is nobody's, and not all of it is reserved. `taken`: in order. Blocks go
    to hosts from the lowest on, so behind the last one is where to look first."""
    size = 1 << (leaf.prefix.width - leaf.block_length)
    last, behind = max([leaf.prefix.base, *(block.prefix.end for block in taken)]), Ranges()
    if last < leaf.prefix.end:
        behind.add(last, leaf.prefix.end)
    if behind.lowest(size, reserved) is not None:
        return True
    gaps, at = Ranges(), leaf.prefix.base
    for block in taken:
        if block.prefix.base > at:
            gaps.starts.append(at)
            gaps.ends.append(block.prefix.base)
        at = max(at, block.prefix.end)
    return gaps.lowest(size, reserved) is not None


def has_room(block: Block, reserved: Ranges) -> bool:
    """Some address of it is free. (`block.busy` tells that only once decisions were taken.)"""
    busy = block.used | block.cool
    if reserved.starts:
        busy |= reserved.mask(block.prefix.base, block.prefix.end)
    return busy != block.full
