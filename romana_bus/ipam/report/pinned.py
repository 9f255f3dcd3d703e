"""Fixed and sticky addresses: the limits of each network, and who uses them. Changes nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from romana_bus.ipam.model.pinned import whole_block
from romana_bus.ipam.topology.pinned_limits import PinnedLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam.model.records import Held
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.topology.networks import Network, Topology
    from romana_bus.ipam.topology.tree import Leaf


class BrokenBlocks(msgspec.Struct, frozen=True, kw_only=True):
    """How many whole blocks of a group fixed and sticky addresses break up, and how many they may."""

    group: str
    prefix: str
    broken: int
    allowed: int


class PinnedView(msgspec.Struct, frozen=True, kw_only=True):
    """`namespaces`: how many fixed, sticky and retained addresses each has in the network. `groups`: those
    with broken blocks."""

    network: str
    limits: PinnedLimits
    namespaces: dict[str, int]
    groups: tuple[BrokenBlocks, ...]


def pinned(state: State) -> tuple[PinnedView, ...]:
    """The limits of every network and who uses them, in the order of the topology."""
    topology = state.topology
    counts: dict[str, Counter[str]] = {network.name: Counter() for network in topology.networks}
    for namespace, held in _counted(state):
        if leaf := topology.leaf_of(held.block.prefix):
            counts[leaf.network][namespace] += 1
    broken = _broken(state)
    return tuple(_network(network, counts[network.name], broken) for network in topology.networks)


def _counted(state: State) -> Iterator[tuple[str, Held]]:
    for host in state.hosts.values():
        for record in host.records.values():
            for held in record.pinned:
                yield record.key.partition("/")[0], held


def _broken(state: State) -> Counter[int]:
    """Number of a leaf -> how many whole blocks of it are broken up."""
    bases = set()
    for block in state.blocks.values():
        leaf = state.topology.leaf_of(block.prefix) if block.prefix.size == 1 else None
        base = whole_block(leaf, block.prefix.base) if leaf and block.is_taken(state.now) else None
        if leaf and base is not None:
            bases.add((leaf.number, base))
    return Counter(number for number, _ in bases)


def _network(network: Network, counts: Counter[str], broken: Counter[int]) -> PinnedView:
    return PinnedView(
        network=network.name,
        limits=network.limits,
        namespaces=dict(sorted(counts.items())),
        groups=tuple(
            BrokenBlocks(
                group=leaf.group, prefix=str(leaf.prefix), broken=broken[leaf.number],
                allowed=network.limits.breakable(leaf.blocks),
            )
            for leaf in network.leaves
            if broken[leaf.number]
        ),
    )  # fmt: skip


def shortened(state: State, new: Topology) -> int:
    """How many retained addresses the topology `new` would end earlier."""
    return sum(
        cooling.until > state.now + max(allowed, state.settings.cooldown)
        for host in state.hosts.values()
        for record in host.records.values()
        for cooling in record.cooling
        if cooling.kept and (allowed := _allowed(new, new.leaf_of(cooling.block.prefix))) is not None
    )


def _allowed(topology: Topology, leaf: Leaf | None) -> int | None:
    return topology.limits_of(leaf.number).max_retention if leaf else None
