"""Blocks of addresses, and the chain of blocks that each owner has.

Each address of a block is one bit of an integer: bit n is the address at offset n. The lowest free address
is the lowest clear bit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from operator import attrgetter

import msgspec

from romana_bus.inet import Prefix, format_address

#: The tenant and the segment of a block that serves all tenants and segments.
ALL = "*"
#: The segment of a block that belongs to one pod begins with this. No label's value has a colon.
OWN = "pod:"


ChainKey = int | tuple[int, str, str]


class Block(msgspec.Struct, eq=False):
    """A prefix that belongs to a host, belonged to one, or has addresses in use.

    `used`, `cool` and `reserved` are bits, `busy` is any of them. `until`: offset of a cooling address ->
    when it has cooled down. `since`: when the host got the block. `at`, `by`: when the block was last
    released, and by which host. `free_at`: when other hosts may get it. `leaf`: the number of the leaf group
    that contains it, -1 for none. `taken`: not part of the free space of its leaf. `chain`: the chain that it
    is in. `spare`: its host holds it without an address in it.
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
        """Whether it belongs to one pod, and follows that pod to other hosts."""
        return self.segment.startswith(OWN)

    @property
    def order(self) -> tuple[int, int]:
        """The key that sorts blocks by age."""
        return self.since, self.prefix.base

    @property
    def claimed(self) -> bool:
        """Whether it serves only one tenant or segment."""
        return self.tenant != ALL or self.segment != ALL

    @property
    def idle(self) -> bool:
        """Whether none of its addresses is used or cooling."""
        return not self.used and not self.cool

    def is_taken(self, now: int) -> bool:
        """Whether it is not part of the free space: it belongs to a node, or is not free yet."""
        return bool(self.node) or not self.idle or self.free_at > now

    @property
    def has_free_address(self) -> bool:
        """Whether one of its addresses is free."""
        return self.busy != self.full

    def lowest(self) -> int:
        """The offset of the lowest free address. Requires `has_free_address`."""
        return (~self.busy & (self.busy + 1)).bit_length() - 1

    def address(self, offset: int) -> str:
        return format_address(self.prefix.width, self.prefix.base + offset)

    def use(self, offset: int) -> None:
        self.used |= 1 << offset

    def release(self, offset: int) -> None:
        self.used &= ~(1 << offset)

    def start_cooling(self, offset: int, until: int) -> None:
        """Records that `offset` cools down. Where two records say so, the later time counts."""
        if self.until is None:
            self.until = {}
        self.until[offset] = max(until, self.until.get(offset, 0))
        self.cool |= 1 << offset

    def end_cooling(self, offset: int, now: int) -> None:
        """Has no effect before the address has cooled down."""
        if self.until is not None and self.until.get(offset, now + 1) <= now:
            del self.until[offset]
            self.cool &= ~(1 << offset)


def chain_key(leaf: int, tenant: str, segment: str) -> ChainKey:
    """The key of an owner's chain in one leaf group, in `Host.chains`."""
    return leaf if tenant == ALL and segment == ALL else (leaf, tenant, segment)


class Chain:
    """The blocks that one owner has in one leaf group, oldest first. All blocks before `hint` are full, so
    the search for a free address takes constant time on average."""

    __slots__ = ("blocks", "hint")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.hint = 0

    def _position(self, block: Block) -> int:
        return bisect_left(self.blocks, block.order, key=attrgetter("order"))

    def add(self, block: Block) -> None:
        position = self._position(block)
        self.blocks.insert(position, block)
        self.hint = min(self.hint, position)

    def remove(self, block: Block) -> None:
        position = self._position(block)
        del self.blocks[position]
        self.hint -= position < self.hint

    def freed(self, block: Block) -> None:
        """Has to be called when an address of the block becomes free."""
        blocks, hint = self.blocks, self.hint
        if hint < len(blocks) and blocks[hint] is block:
            return
        self.hint = min(self.hint, self._position(block))

    def first(self) -> Block | None:
        """The oldest block with a free address."""
        blocks = self.blocks
        for position in range(self.hint, len(blocks)):
            block = blocks[position]
            if block.busy != block.full:
                self.hint = position
                return block
        self.hint = len(blocks)
        return None


class Overlaps:
    """Finds the blocks that share addresses. Costs nothing as long as all blocks of a family have one
    size."""

    def __init__(self) -> None:
        self._blocks: dict[Prefix, Block] = {}
        self._lengths: dict[int, Counter[int]] = {}

    def add(self, block: Block) -> None:
        self._blocks[block.prefix] = block
        self._lengths.setdefault(block.prefix.width, Counter())[block.prefix.length] += 1

    def remove(self, block: Block) -> None:
        del self._blocks[block.prefix]
        lengths = self._lengths[block.prefix.width]
        lengths[block.prefix.length] -= 1
        if not lengths[block.prefix.length]:
            del lengths[block.prefix.length]

    def possible(self, block: Block) -> bool:
        """Whether blocks of another size exist in its family."""
        return len(self._lengths[block.prefix.width]) > 1

    def around(self, block: Block, offset: int) -> list[tuple[Block, int]]:
        """Returns the other blocks that contain the address, each with the address's offset in it."""
        width, value = block.prefix.width, block.prefix.base + offset
        others = []
        for length in self._lengths[width]:
            base = value >> (width - length) << (width - length)
            other = self._blocks.get(Prefix(width, base, length))
            if other is not None and other is not block:
                others.append((other, value - base))
        return others

    def of(self, block: Block) -> list[Block]:
        """Returns the other blocks that share addresses with the block."""
        width, base, length = block.prefix
        others = [other for other, _ in self.around(block, 0)]
        for longer in sorted(known for known in self._lengths[width] if known > length):
            if longer - length > 16:
                smaller = (known for known in self._blocks.values() if known.prefix.length == longer)
                others += [known for known in smaller if block.prefix.contains(known.prefix)]
                continue
            step = 1 << (width - longer)
            for start in range(base + step, block.prefix.end, step):
                if other := self._blocks.get(Prefix(width, start, longer)):
                    others.append(other)
        return others
