"""The free space of one leaf group, and which block is opened next."""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

from romana_bus.inet import Prefix
from romana_bus.ipam.model.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Container

    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.topology.tree import Leaf


class FreeSpace:
    """The free space of one leaf group, and the hosts that wait for it.

    `free`: the ranges that belong to no block and are not cooling. `released`: free blocks, by (time of
    release, base). `idle`: blocks that hosts hold without an address in them. `members`: the hosts placed
    here. `short`: the hosts that found no spare block here. `overlapping`: some of the blocks overlap.
    """

    __slots__ = (
        "free", "idle", "leaf", "members", "overlapping", "released", "short",
    )  # fmt: skip

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.free = Ranges()
        self.free.add(leaf.prefix.base, leaf.prefix.end)
        self.released: list[tuple[int, int, Block]] = []
        self.idle: dict[str, Block] = {}
        self.members: set[str] = {host.name for host in leaf.hosts}
        self.short: set[str] = set()
        self.overlapping = False

    def remove_member(self, host: str) -> None:
        """A host that the leaf lists by name stays a member, whether it exists or not."""
        if all(host != listed.name for listed in self.leaf.hosts):
            self.members.discard(host)

    def _inside(self, prefix: Prefix) -> tuple[int, int]:
        """The part of the prefix that lies in the leaf: start and end."""
        return max(prefix.base, self.leaf.prefix.base), min(prefix.end, self.leaf.prefix.end)

    def take(self, prefix: Prefix) -> None:
        start, end = self._inside(prefix)
        self.overlapping |= not self.free.holds(start, end)
        self.free.remove(start, end)

    def give(self, block: Block) -> None:
        self.free.add(*self._inside(block.prefix))
        if block.leaf == self.leaf.number:
            self.remember(block)

    def remember(self, block: Block) -> None:
        """Adds the block to those that were released."""
        if block.by:
            insort(self.released, (block.at, block.prefix.base, block), key=_when)

    def forget(self, before: int, hosts: Container[str]) -> None:
        """Forgets the order of blocks that were released before `before` (µs), and all but these hosts."""
        self.released = [entry for entry in self.released if entry[0] > before and entry[2].at == entry[0]]
        self.short.intersection_update([name for name in self.short if name in hosts])

    def next(self, since: int, reserved: Ranges) -> Prefix | None:
        """The block to open next: the one released longest ago, if after `since`; else the lowest free one.
        A block whose addresses are all reserved is left out."""
        leaf = self.leaf
        size = 1 << (leaf.prefix.width - leaf.block_length)
        position = 0
        while position < len(self.released):
            released, base, block = self.released[position]
            if released <= since or block.node or block.at != released:
                del self.released[position]
                continue
            fits = block.prefix.length == leaf.block_length and self.free.holds(base, base + size)
            if fits and not reserved.holds(base, base + size):
                return block.prefix
            position += 1
        lowest = self.free.lowest(size, reserved)
        return None if lowest is None else Prefix(leaf.prefix.width, lowest, leaf.block_length)


def _when(entry: tuple[int, int, Block]) -> tuple[int, int]:
    return entry[:2]
