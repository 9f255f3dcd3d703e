"""Pinned addresses, which are the fixed and the sticky ones: how many each namespace has, which whole blocks
they break up, and for how long they are retained.

The counts are part of the index: they follow from the rest of the state. An address outside every group
counts nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import WHILE_IT_RUNS
from romana_bus.ipam.model.waiting import BROKEN, SHARE

if TYPE_CHECKING:
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.records import Cooling, Record
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.model.waiting import Waiting
    from romana_bus.ipam.topology.networks import Topology
    from romana_bus.ipam.topology.tree import Leaf


class PinnedUsage:
    """`counts`: how many pinned addresses a namespace has, by (namespace, place of the network in the
    topology). `broken`: leaf -> base of a whole block -> how many blocks of one address break it up."""

    def __init__(self, topology: Topology, waiting: Waiting) -> None:
        self.topology = topology
        self.waiting = waiting
        self.counts: dict[tuple[str, int], int] = {}
        self.broken: dict[int, dict[int, int]] = {}

    def count(self, record: Record, sign: int) -> None:
        """Adds the record's pinned addresses to those that count, or takes them out."""
        for held in record.pinned:
            self._count(record.key, held.block.leaf, sign)

    def uncount(self, key: str, leaf: int) -> None:
        """Takes one address of the pod's name out: it is no longer retained."""
        self._count(key, leaf, -1)

    def _count(self, key: str, leaf: int, sign: int) -> None:
        if leaf < 0:
            return
        namespace, place = key.partition("/")[0], self.topology.place_of(leaf)
        full = self.over_limit(namespace, place)
        after = self.counts[namespace, place] = self.counts.get((namespace, place), 0) + sign
        if not after:
            del self.counts[namespace, place]
        if self.over_limit(namespace, place) != full:
            self.waiting.changed((SHARE, namespace, place))

    def over_limit(self, namespace: str, place: int) -> bool:
        """Whether the namespace can have no further pinned address in the network."""
        limit = self.topology.networks[place].limits.max_per_namespace
        return self.counts.get((namespace, place), 0) >= limit

    def break_up(self, block: Block, taken: bool) -> None:
        """Has to be called when a block of one address is taken out of the free space, or given back."""
        leaf = self.topology.leaves[block.leaf]
        base = whole_block(leaf, block.prefix.base)
        if base is None:
            return
        full = self.all_broken(leaf)
        bases = self.broken.setdefault(leaf.number, {})
        count = bases[base] = bases.get(base, 0) + (1 if taken else -1)
        if not count:
            del bases[base]
        if not bases:
            del self.broken[leaf.number]
        if self.all_broken(leaf) != full:
            self.waiting.changed((BROKEN, "", leaf.number))
        if count <= 1:
            width = leaf.prefix.width
            self.waiting.range_changed(width, base, base + (1 << (width - leaf.block_length)))

    def all_broken(self, leaf: Leaf) -> bool:
        """Whether no further whole block of the leaf may be broken up."""
        allowed = self.topology.limits_of(leaf.number).breakable(leaf.blocks)
        return len(self.broken.get(leaf.number, ())) >= allowed

    def may_break(self, leaf: Leaf, value: int) -> bool:
        """Whether a block of the address alone can be made, as far as the limits go."""
        base = whole_block(leaf, value)
        return base is None or base in self.broken.get(leaf.number, ()) or not self.all_broken(leaf)


def whole_block(leaf: Leaf, value: int) -> int | None:
    """The base of the whole block around the address; None where blocks have one address anyway."""
    size = 1 << (leaf.prefix.width - leaf.block_length)
    return value & -size if size > 1 else None


def retained_until(state: State, block: Block, until: int) -> int:
    """Until when an address of the block is retained that is wanted until `until`: as long as its network
    allows, and for the cooldown in any case."""
    if block.leaf < 0:
        return until
    allowed = state.topology.limits_of(block.leaf).max_retention
    return min(until, state.now + max(allowed, state.settings.cooldown))


def has_excess(state: State, record: Record) -> bool:
    """Whether the record retains an address for longer than its network allows now."""
    cooling = record.rest.cooling
    return bool(cooling) and any(excess(state, address) for address in cooling)


def excess(state: State, cooling: Cooling) -> bool:
    """Whether the address is retained for longer than its network allows now."""
    if not cooling.kept or cooling.until == WHILE_IT_RUNS:
        return False
    return retained_until(state, cooling.block, cooling.until) < cooling.until
