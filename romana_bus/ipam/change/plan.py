"""Plans a new topology document: what it would change in the cluster. Changes nothing.

It takes all decisions on a copy of the state with the new document, and discards the copy.
"""

from __future__ import annotations

import pickle
from copy import copy
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.events import TopologySet
from romana_bus.inet import parse_prefix
from romana_bus.ipam.allocate.decide import parts
from romana_bus.ipam.change.compare import Comparison, GroupChange, NetworkChange, SlotGrowth
from romana_bus.ipam.change.evictions import PlacementCheck, PodChange
from romana_bus.ipam.fold.evolve import topology_set
from romana_bus.ipam.model.state import NEEDED
from romana_bus.ipam.report.pinned import PinnedView, pinned, shortened
from romana_bus.ipam.topology.networks import Topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from romana_bus.events import Placement
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.topology.tree import Group


class HostChange(msgspec.Struct, frozen=True, kw_only=True):
    """A node in one network. `kind`: stays, moves, placed (it was in no group) or unplaced."""

    kind: str
    node: str
    network: str
    group: str = ""
    was_group: str = ""
    prefix: str = ""
    was_prefix: str = ""
    reason: str = ""


class BlockChange(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: ended (it is empty); outside (it lies in no group: no address of it is assigned any more, and
    it ends with its last address); elsewhere (the same, in a group that its node is not in). `already`: that
    is so before the change."""

    kind: str
    block: str
    node: str
    addresses: int
    already: bool = False


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """`blocks`: those that are affected; `blocks_kept`: the number of the others. `blocks_opened`: how many
    blocks nodes would get at once. `losing`: the running pods that lose an address. `homeless`: those whose
    address has no place already. `pinned`: who uses the limits of fixed and sticky addresses afterwards.
    `shortened`: how many retained addresses end earlier. `problem`: why the topology in force cannot be
    used."""

    networks: tuple[NetworkChange, ...]
    groups: tuple[GroupChange, ...]
    growths: tuple[SlotGrowth, ...]
    hosts: tuple[HostChange, ...]
    blocks: tuple[BlockChange, ...]
    blocks_kept: int
    blocks_opened: int
    addresses_kept: int
    losing: tuple[PodChange, ...]
    homeless: tuple[PodChange, ...]
    pinned: tuple[PinnedView, ...] = ()
    shortened: int = 0
    problem: str = ""

    @property
    def safe(self) -> bool:
        return not self.losing


def changes(state: State, document: Mapping[str, Any], new: Topology) -> Changes:
    """Plans the document: returns what it would change. `new`: its topology."""
    losing, homeless, kept = PlacementCheck(state, new).pods()
    event = TopologySet(document=dict(document), evict=tuple(pod.eviction for pod in losing))
    after = _after(state, event, new)
    comparison = Comparison(state.topology, new)
    return Changes(
        networks=tuple(comparison.networks),
        groups=tuple(comparison.groups),
        growths=tuple(comparison.growths),
        hosts=tuple(_hosts(state, after, comparison)),
        blocks=tuple(blocks := list(_blocks(state, after))),
        blocks_kept=sum(bool(block.node) for block in state.blocks.values()) - len(blocks),
        blocks_opened=len(_owned(after) - _owned(state)),
        addresses_kept=kept,
        losing=tuple(losing),
        homeless=tuple(homeless),
        pinned=pinned(after),
        shortened=shortened(state, new),
        problem=state.problem,
    )


def _after(state: State, event: TopologySet, new: Topology) -> State:
    """The state after `event` and the decisions that follow. It shares nothing with this one."""
    bare = copy(state)
    bare.index, bare.topology = None, Topology()
    after: State = pickle.loads(pickle.dumps(bare, pickle.HIGHEST_PROTOCOL))
    topology_set(after, event, 0, new)
    after.synced = dict.fromkeys(NEEDED, True)
    for _ in parts(after):
        pass
    return after


def _hosts(state: State, after: State, comparison: Comparison) -> Iterator[HostChange]:
    for name, host in sorted(state.hosts.items()):
        if not host.seen or name not in after.hosts:
            continue
        was = {comparison.names.get(old.network, old.network): old for old in host.placements}
        now = {new.network: new for new in after.hosts[name].placements}
        denied = after.hosts[name].denied
        for network in dict.fromkeys([*was, *now]):
            before, then = was.get(network), now.get(network)
            kind, reason = "placed", ""
            if before:
                kind, reason = _moved(state, after, comparison, before, network, then)
            yield HostChange(
                kind=kind, node=name, network=network,
                group=then.group if then else "", was_group=before.group if before else "",
                prefix=then.prefix if then else "", was_prefix=before.prefix if before else "",
                reason=denied.reason if denied and kind == "unplaced" else reason,
            )  # fmt: skip


def _moved(
    state: State,
    after: State,
    comparison: Comparison,
    before: Placement,
    network: str,
    then: Placement | None,
) -> tuple[str, str]:
    """Whether a host stays in its group, and if not, why. A group missing from the active topology is
    matched by prefix."""
    successor = comparison.successors.get((before.network, before.prefix))
    known = state.topology.leaf_of(parse_prefix(before.prefix)) is not None
    if then and then.prefix == (_prefix(successor) if successor or known else before.prefix):
        return "stays", ""
    kind = "moves" if then else "unplaced"
    if network not in after.topology.place:
        return kind, f"network {network} ends"
    if not known:
        return kind, "its place belongs to no group"
    if successor is None:
        return kind, f"group {before.group} ends"
    if successor.groups:
        return kind, f"group {successor.path} is split into groups"
    return kind, f"group {successor.path} does not take its labels"


def _prefix(group: Group | None) -> str:
    return str(group.prefix) if group else ""


def _owned(state: State) -> set[str]:
    """The blocks that belong to nodes."""
    return {text for text, block in state.blocks.items() if block.node}


def _blocks(state: State, after: State) -> Iterator[BlockChange]:
    """Yields the blocks that are affected, by address."""
    index = after.index
    for text, block in sorted(state.blocks.items(), key=lambda entry: entry[1].prefix):
        if not block.node:
            continue
        new = after.blocks.get(text)
        already = False
        if new is None or new.node != block.node:
            kind = "ended"
        elif new.leaf < 0:
            kind, already = "outside", state.topology.leaf_of(block.prefix) is None
        elif index is not None and new.leaf not in after.hosts[new.node].leaves:
            kind, already = "elsewhere", _elsewhere(state, block)
        else:
            continue
        yield BlockChange(
            kind=kind, block=text, node=block.node, addresses=block.used.bit_count(), already=already
        )  # fmt: skip


def _elsewhere(state: State, block: Block) -> bool:
    """Whether it is in another group than its node already."""
    leaf, host = state.topology.leaf_of(block.prefix), state.hosts[block.node]
    return leaf is not None and all(placement.prefix != str(leaf.prefix) for placement in host.placements)
