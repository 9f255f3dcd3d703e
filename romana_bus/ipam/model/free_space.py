"""The room of one leaf group: what is free, and which block is next."""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

from romana_bus.inet import Prefix
from romana_bus.ipam.model.ranges import Ranges

if TYPE_CHECKING:
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.topology.tree import Leaf


class FreeSpace:
    """The room of one leaf group.

    `free`: what is no block's, and is not cooling. `released`: free blocks by (released at, base).
    `idle`: blocks that some host holds without an address in them. `members`: the hosts placed here.
    `waiting`: those with a pod that found no room; `wishing`: those of them with one that waits for a
    certain address; `short`: those that found none for a spare block.
    """

    __slots__ = ("free", "idle", "leaf", "members", "released", "short", "tangled", "waiting", "wishing")

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.free = Ranges()
        self.free.add(leaf.prefix.base, leaf.prefix.end)
        self.released: list[tuple[int, int, Block]] = []
        self.idle: dict[str, Block] = {}
        self.members: set[str] = {host.name for host in leaf.hosts}
        self.waiting: set[str] = set()
        self.wishing: set[str] = set()
        self.short: set[str] = set()
        self.tangled = False

    def unseat(self, host: str) -> None:
        """A host that the leaf lists counts here even when it is not there."""
        if all(host != listed.name for listed in self.leaf.hosts):
            self.members.discard(host)

    def _inside(self, prefix: Prefix) -> tuple[int, int]:
        return max(prefix.base, self.leaf.prefix.base), min(prefix.end, self.leaf.prefix.end)

    def take(self, prefix: Prefix) -> None:
        """`tangled`: there are blocks that overlap."""
        start, end = self._inside(prefix)
        self.tangled |= not self.free.holds(start, end)
        self.free.remove(start, end)

    def give(self, block: Block) -> None:
        start, end = (
            max(block.prefix.base, self.leaf.prefix.base),
            min(block.prefix.end, self.leaf.prefix.end),
        )
        self.free.add(start, end)
        if block.leaf == self.leaf.number:
            self.remember(block)

    def remember(self, block: Block) -> None:
        if block.by:
            insort(self.released, (block.at, block.prefix.base, block), key=_when)

    def next(self, since: int, reserved: Ranges) -> Prefix | None:
        """A block for a host: the one released longest ago, if after `since`; else the lowest that is
        nobody's. One whose addresses are all reserved is none."""
        leaf = self.leaf
        size = 1 << (leaf.prefix.width - leaf.block_length)
        at = 0
        while at < len(self.released):
            released, base, block = self.released[at]
            if released <= since or block.node or block.at != released:
                del self.released[at]
                continue
            fits = block.prefix.length == leaf.block_length and self.free.holds(base, base + size)
            if fits and not reserved.holds(base, base + size):
                return block.prefix
            at += 1
        lowest = self.free.lowest(size, reserved)
        return None if lowest is None else Prefix(leaf.prefix.width, lowest, leaf.block_length)


def _when(entry: tuple[int, int, Block]) -> tuple[int, int]:
    return entry[:2]
