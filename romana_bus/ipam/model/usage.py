"""Usage: how many addresses of a prefix are used, cooling, reserved and free. Computed here and nowhere else.

Which addresses of a block are in use (`in_use`), how many of a prefix are free (`free_in`), and what is
exhausted for a pod (`exhausted_scope`) are the same for all readers. Reports, metrics and forecasts read the
index; the allocator reads the sums that a denial needs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from romana_bus.inet import V4, V6, Prefix
from romana_bus.ipam.model.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.topology.networks import Topology
    from romana_bus.ipam.topology.tree import Leaf

#: What can be exhausted: the blocks of a node, a group, or a whole network.
BLOCK, GROUP, NETWORK = "block", "group", "network"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of a prefix: used + cooling + reserved + free = size. A reserved address that is in use
    counts as used. `blocks`: those that belong to a node.

    `fragmented`: the free addresses in blocks that are partly used or cooling: only the owner of the block
    can get them. All other free addresses can be allocated as whole blocks: they belong to no node, or to a
    node's spare block, which the node gives up when another one needs it. A block that is smaller than the
    network's blocks are today counts as the whole block of today's size around it."""

    size: int
    used: int
    cooling: int
    reserved: int
    free: int
    blocks: int
    fragmented: int = 0

    @property
    def fragmentation(self) -> float:
        """The share of the fragmented addresses among the free ones, in percent; 0 where nothing is free."""
        return 100 * self.fragmented / self.free if self.free else 0.0

    @property
    def fullness(self) -> float:
        """The share of the addresses that are not free, 0 to 1."""
        return (self.size - self.free) / self.size if self.size else 0.0


def total(usages: Iterable[Usage]) -> Usage:
    """The sum of the usages of prefixes that do not overlap."""
    parts = list(usages)
    fields = Usage.__struct_fields__
    return Usage(**{field: sum(getattr(usage, field) for usage in parts) for field in fields})


def in_use(block: Block, reserved: Ranges) -> int:
    """The addresses of the block that are used or cooling, and not reserved, as bits."""
    bits = block.used | block.cool
    return bits & ~reserved.mask(block.prefix.base, block.prefix.end) if reserved.starts else bits


def free_in(prefix: Prefix, reserved: Ranges, in_use: int) -> int:
    """The number of free addresses of a prefix. `in_use`: how many are used or cooling, and not reserved."""
    return prefix.size - reserved.count(prefix.base, prefix.end) - in_use


class Counts(NamedTuple):
    """Addresses of blocks. `in_use`: used or cooling, and not reserved. `owned`: blocks of nodes."""

    used: int
    cooling: int
    in_use: int
    owned: int

    def free(self, prefix: Prefix, reserved: Ranges) -> int:
        return free_in(prefix, reserved, self.in_use)

    def usage(self, prefix: Prefix, reserved: Ranges) -> Usage:
        """Nothing of it counts as fragmented."""
        size, free = prefix.size, self.free(prefix, reserved)
        return Usage(
            size=size, used=self.used, cooling=self.cooling, reserved=size - self.used - self.cooling - free,
            free=free, blocks=self.owned,
        )  # fmt: skip


def count(block: Block, prefix: Prefix, reserved: Ranges) -> Counts:
    """Counts the part of the block that lies in `prefix`."""
    part = ((1 << prefix.size) - 1) << (prefix.base - block.prefix.base) & block.full
    used, cool = block.used & part, block.cool & ~block.used & part
    unreserved = in_use(block, reserved) & part
    return Counts(used.bit_count(), cool.bit_count(), unreserved.bit_count(), bool(block.node))


def block_usage(block: Block, reserved: Ranges) -> Usage:
    """The usage of one block, as it is: the blocks around it do not count."""
    usage = count(block, block.prefix, reserved).usage(block.prefix, reserved)
    return usage if block.idle else msgspec.structs.replace(usage, fragmented=usage.free)


def has_free_address(block: Block, reserved: Ranges) -> bool:
    """Whether the block has one. (`Block.busy` tells it only after a decision: it is part of the index.)"""
    return free_in(block.prefix, reserved, in_use(block, reserved).bit_count()) > 0


class UsageIndex:
    """The usage of any prefix of one family: sums over its blocks, so that each answer is a subtraction.

    A snapshot: it does not follow the state."""

    def __init__(self, state: State, width: int) -> None:
        self._state = state
        self.reserved = state.reserved_in(width)
        self.blocks = sorted(
            (b for b in state.blocks.values() if b.prefix.width == width and (b.node or not b.idle)),
            key=lambda block: block.prefix,
        )
        self.bases = [block.prefix.base for block in self.blocks]
        counts = [count(block, block.prefix, self.reserved) for block in self.blocks]
        self.sums = [[0, *accumulate(column)] for column in zip(*counts, strict=True)] or [[0]] * 4

    def within(self, prefix: Prefix) -> list[Block]:
        """The blocks that begin in the prefix, or contain it."""
        start, end = bisect_left(self.bases, prefix.base), bisect_left(self.bases, prefix.end)
        before = self.blocks[max(start - 1, 0) : start]
        return [block for block in before if block.prefix.contains(prefix)] + self.blocks[start:end]

    def usage(self, prefix: Prefix) -> Usage:
        usage = self._counts(prefix).usage(prefix, self.reserved)
        return msgspec.structs.replace(usage, fragmented=self._fragmented(prefix, usage.free))

    def free(self, prefix: Prefix) -> int:
        """The number of free addresses in the prefix."""
        return self._counts(prefix).free(prefix, self.reserved)

    def _fragmented(self, prefix: Prefix, free: int) -> int:
        in_use, bases, sums = self._in_use
        before = bisect_right(bases, prefix.base) - 1
        if before >= 0 and in_use[before].contains(prefix):
            return free
        return sums[bisect_left(bases, prefix.end)] - sums[bisect_left(bases, prefix.base)]

    @cached_property
    def _in_use(self) -> tuple[list[Prefix], list[int], list[int]]:
        """The blocks in use, their bases, and the sums of their free addresses."""
        prefixes = _blocks_in_use(self._state, self.blocks)
        free = accumulate(self.free(prefix) for prefix in prefixes)
        return prefixes, [prefix.base for prefix in prefixes], [0, *free]

    def _counts(self, prefix: Prefix) -> Counts:
        before = bisect_right(self.bases, prefix.base) - 1
        if before >= 0 and self.blocks[before].prefix.contains(prefix):
            return count(self.blocks[before], prefix, self.reserved)
        start, end = bisect_left(self.bases, prefix.base), bisect_left(self.bases, prefix.end)
        return Counts(*(column[end] - column[start] for column in self.sums))


UsageByFamily = dict[int, UsageIndex]


def usage_index(state: State) -> UsageByFamily:
    """Address width -> the usage index of that family."""
    return {width: UsageIndex(state, width) for width in (V4, V6)}


def free_by_leaf(state: State) -> list[int]:
    """The number of free addresses of each leaf, by its number. Right after a decision only, as `Block.busy`.

    The allocator asks with every decision while something is exhausted. It needs these sums alone, which take
    a twentieth of the time of an index: nothing is sorted."""
    leaves = state.topology.leaves
    used = [0] * len(leaves)
    for block in state.blocks.values():
        if block.leaf >= 0:
            # `in_use`, inlined: with the call, all of this takes a quarter longer.
            used[block.leaf] += ((block.used | block.cool) & ~block.reserved).bit_count()
            continue
        # Smaller than the block: the topology has changed.
        for leaf in state.topology.overlapping(block.prefix):
            used[leaf.number] += count(block, leaf.prefix, state.reserved_in(leaf.prefix.width)).in_use
    return [free_in(leaf.prefix, state.reserved_in(leaf.prefix.width), used[leaf.number]) for leaf in leaves]


def exhausted_scope(
    topology: Topology, families: Iterable[Iterable[Leaf]], free: Callable[[Leaf], int]
) -> str:
    """What is exhausted for a pod that finds no address: the widest scope of its address families, '' without
    any. `families`: for each of them, the groups that its address can come from. `free`: the number of free
    addresses of a group.

    The scope is BLOCK where one of these groups has a free address, which others hold; GROUP where only other
    groups of their networks have one; else NETWORK."""
    scopes = [_scope(topology, tuple(leaves), free) for leaves in families]
    return max(scopes, key=(BLOCK, GROUP, NETWORK).index, default="")


def _scope(topology: Topology, leaves: tuple[Leaf, ...], free: Callable[[Leaf], int]) -> str:
    if any(free(leaf) > 0 for leaf in leaves):
        return BLOCK
    networks = {leaf.network for leaf in leaves}
    others = (leaf for leaf in topology.leaves if leaf.network in networks)
    return GROUP if any(free(leaf) > 0 for leaf in others) else NETWORK


def _blocks_in_use(state: State, blocks: Iterable[Block]) -> list[Prefix]:
    """The blocks with an address that is used or cooling, sorted and disjoint. A block that is smaller than
    blocks are there today is given as the block of today's size around it."""
    prefixes: list[Prefix] = []
    for block in blocks:
        if block.idle:
            continue
        prefix, leaf = block.prefix, state.topology.leaf_of(block.prefix)
        if leaf and leaf.block_length < prefix.length:
            base = prefix.base >> (prefix.width - leaf.block_length) << (prefix.width - leaf.block_length)
            prefix = Prefix(prefix.width, base, leaf.block_length)
        while prefixes and prefix.contains(prefixes[-1]):
            prefixes.pop()
        if not prefixes or not prefixes[-1].overlaps(prefix):
            prefixes.append(prefix)
    return prefixes


def has_whole_block(leaf: Leaf, taken: Sequence[Block], reserved: Ranges) -> bool:
    """Whether a block of today's size belongs to no node and is not reserved as a whole. `taken`: the blocks
    of the leaf, in order."""
    size = 1 << (leaf.prefix.width - leaf.block_length)
    # Blocks are opened from the lowest on, so the space behind the last one is searched first.
    last, behind = max([leaf.prefix.base, *(block.prefix.end for block in taken)]), Ranges()
    if last < leaf.prefix.end:
        behind.add(last, leaf.prefix.end)
    if behind.lowest(size, reserved) is not None:
        return True
    gaps, start = Ranges(), leaf.prefix.base
    for block in taken:
        if block.prefix.base > start:
            gaps.starts.append(start)
            gaps.ends.append(block.prefix.base)
        start = max(start, block.prefix.end)
    return gaps.lowest(size, reserved) is not None
