"""Blocks of addresses, and each owner's chain of them.

An address of a block is a bit: its offset from the block's base. The lowest free address is the lowest
clear bit of one integer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from operator import attrgetter

import msgspec

from romana_bus.inet import Prefix, format_address

#: The tenant and the segment of a block that serves all of them.
ALL = "*"
#: The segment of a block that is one pod's own begins so. No label's value has a colon.
OWN = "pod:"


ChainKey = int | tuple[int, str, str]


class Block(msgspec.Struct, eq=False):
    """A prefix that is some host's, was, or has addresses in use.

    `used`, `cool` and `reserved` are bits, `busy` any of them. `until`: an address's offset -> when it
    has cooled. `at`, `free_at`, `by`: the last release, by which host, and when others may have it.
    `leaf`: the number of the group that contains it, -1 for none. `taken`: not free room of its leaf.
    `chain`: its owner's. `spare`: it counts among its host's idle ones.
    """

    text: str
    prefix: Prefix
    full: int
    network: str = ""
    node: str = ""
    tenant: str = ALL
    segment: str = ALL
    since: int = 0
    used: int = 0
    cool: int = 0
    reserved: int = 0
    busy: int = 0
    until: dict[int, int] | None = None
    at: int = 0
    free_at: int = 0
    by: str = ""
    leaf: int = -1
    taken: bool = False
    chain: Chain | None = None
    spare: bool = False

    @property
    def single(self) -> bool:
        """It is one pod's own, and follows it."""
        return self.segment.startswith(OWN)

    @property
    def order(self) -> tuple[int, int]:
        return self.since, self.prefix.base

    @property
    def claimed(self) -> bool:
        return self.tenant != ALL or self.segment != ALL

    @property
    def idle(self) -> bool:
        """No address of it is used or cooling."""
        return not self.used and not self.cool

    @property
    def room(self) -> bool:
        return self.busy != self.full

    def lowest(self) -> int:
        """The offset of the lowest free address. There has to be room."""
        return (~self.busy & (self.busy + 1)).bit_length() - 1

    def address(self, offset: int) -> str:
        return format_address(self.prefix.width, self.prefix.base + offset)

    def use(self, offset: int) -> None:
        self.used |= 1 << offset

    def leave(self, offset: int) -> None:
        self.used &= ~(1 << offset)

    def chill(self, offset: int, until: int) -> None:
        """Two entities may name one address, the older one with the earlier end: the later one holds."""
        if self.until is None:
            self.until = {}
        self.until[offset] = max(until, self.until.get(offset, 0))
        self.cool |= 1 << offset

    def thaw(self, offset: int, now: int) -> None:
        if self.until is not None and self.until.get(offset, now + 1) <= now:
            del self.until[offset]
            self.cool &= ~(1 << offset)


def chain_key(leaf: int, tenant: str, segment: str) -> ChainKey:
    """Under which a host has the chain of one owner in one group."""
    return leaf if tenant == ALL and segment == ALL else (leaf, tenant, segment)


class Chain:
    """The blocks of one owner in one group, oldest first. All before `hint` are full, so finding room
    costs nothing on average, however many there are."""

    __slots__ = ("blocks", "hint")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.hint = 0

    def _place(self, block: Block) -> int:
        return bisect_left(self.blocks, block.order, key=attrgetter("order"))

    def add(self, block: Block) -> None:
        at = self._place(block)
        self.blocks.insert(at, block)
        self.hint = min(self.hint, at)

    def remove(self, block: Block) -> None:
        at = self._place(block)
        del self.blocks[at]
        self.hint -= at < self.hint

    def has_room(self, block: Block) -> None:
        blocks, hint = self.blocks, self.hint
        if hint < len(blocks) and blocks[hint] is block:
            return
        self.hint = min(self.hint, self._place(block))

    def first(self) -> Block | None:
        """The first block with room."""
        blocks = self.blocks
        for at in range(self.hint, len(blocks)):
            block = blocks[at]
            if block.busy != block.full:
                self.hint = at
                return block
        self.hint = len(blocks)
        return None


class Overlaps:
    """All blocks that are known, by where they are: which of them share addresses. Costs nothing as long as
    all blocks of a family are of one size."""

    def __init__(self) -> None:
        self._places: dict[Prefix, Block] = {}
        self._lengths: dict[int, Counter[int]] = {}

    def add(self, block: Block) -> None:
        self._places[block.prefix] = block
        self._lengths.setdefault(block.prefix.width, Counter())[block.prefix.length] += 1

    def remove(self, block: Block) -> None:
        del self._places[block.prefix]
        lengths = self._lengths[block.prefix.width]
        lengths[block.prefix.length] -= 1
        if not lengths[block.prefix.length]:
            del lengths[block.prefix.length]

    def possible(self, block: Block) -> bool:
        return len(self._lengths[block.prefix.width]) > 1

    def around(self, block: Block, offset: int) -> list[tuple[Block, int]]:
        """The other blocks that hold this address, each with its offset there."""
        width, value = block.prefix.width, block.prefix.base + offset
        found = []
        for length in self._lengths[width]:
            base = value >> (width - length) << (width - length)
            other = self._places.get(Prefix(width, base, length))
            if other is not None and other is not block:
                found.append((other, value - base))
        return found

    def of(self, block: Block) -> list[Block]:
        """The other blocks that share addresses with it."""
        width, base, length = block.prefix
        found = [other for other, _ in self.around(block, 0)]
        for longer in sorted(one for one in self._lengths[width] if one > length):
            if longer - length > 16:
                inside = (one for one in self._places.values() if one.prefix.length == longer)
                found += [one for one in inside if block.prefix.contains(one.prefix)]
                continue
            step = 1 << (width - longer)
            for at in range(base + step, block.prefix.end, step):
                if other := self._places.get(Prefix(width, at, longer)):
                    found.append(other)
        return found
