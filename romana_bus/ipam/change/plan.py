"""What another topology document would do to a cluster. Changes nothing, and asks the core itself: the
same state, with that document, in a copy that is thrown away.
"""

from __future__ import annotations

import pickle
from copy import copy
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.events import TopologySet
from romana_bus.inet import parse_prefix
from romana_bus.ipam.allocate.decide import parts
from romana_bus.ipam.change.compare import Comparison, GroupChange, Growth, NetworkChange
from romana_bus.ipam.change.evictions import Places, PodChange
from romana_bus.ipam.fold.evolve import evolve
from romana_bus.ipam.model.state import NEEDED
from romana_bus.ipam.topology.document import parse
from romana_bus.ipam.topology.networks import Topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from romana_bus.events import Placement
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.nodes import Host
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
    """`kind`: ended (it is empty); outside (it lies in no group: nothing more is given out of it, and it
    ends with the last of its addresses); elsewhere (the same, in a group that is not its node's).
    `already`: it is so now."""

    kind: str
    block: str
    node: str
    addresses: int
    already: bool = False


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """`blocks`: those that are affected; of the others the number, `blocks_kept`, as of the addresses.
    `blocks_opened`: how many nodes would get before any new pod comes. `losing`: the running pods that lose
    an address; `homeless`: those whose address has no place as it is. `problem`: why the topology in force
    cannot be used."""

    networks: tuple[NetworkChange, ...]
    groups: tuple[GroupChange, ...]
    growths: tuple[Growth, ...]
    hosts: tuple[HostChange, ...]
    blocks: tuple[BlockChange, ...]
    blocks_kept: int
    blocks_opened: int
    addresses_kept: int
    losing: tuple[PodChange, ...]
    homeless: tuple[PodChange, ...]
    problem: str = ""

    @property
    def safe(self) -> bool:
        return not self.losing


def changes(state: State, document: Mapping[str, Any]) -> Changes:
    """Raises BadTopology."""
    new = parse(document)
    losing, homeless, kept = Places(state, new).pods()
    event = TopologySet(document=dict(document), evict=tuple(pod.eviction for pod in losing))
    after = _after(state, event)
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
        problem=state.problem,
    )


def _after(state: State, event: TopologySet) -> State:
    """The state that `event` leads to. It shares nothing with this one, whatever it may consist of."""
    bare = copy(state)
    bare.index, bare.topology = None, Topology()
    after: State = pickle.loads(pickle.dumps(bare, pickle.HIGHEST_PROTOCOL))
    evolve(after, event)
    after.synced = dict.fromkeys(NEEDED, True)
    for _ in parts(after):
        pass
    return after


def _hosts(state: State, after: State, comparison: Comparison) -> Iterator[HostChange]:
    for name, host in sorted(state.hosts.items()):
        if not host.seen or name not in after.hosts:
            continue
        was = {comparison.names.get(at.network, at.network): at for at in _placements(host)}
        now = {at.network: at for at in _placements(after.hosts[name])}
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


def _placements(host: Host) -> tuple[Placement, ...]:
    return host.placed.placements if host.placed else ()


def _moved(
    state: State,
    after: State,
    comparison: Comparison,
    before: Placement,
    network: str,
    then: Placement | None,
) -> tuple[str, str]:
    """Whether a host is still where it was, or why not. A place of which the topology in force knows nothing
    is still the same where its prefix is."""
    heir = comparison.heirs.get((before.network, before.prefix))
    known = state.topology.leaf_of(parse_prefix(before.prefix)) is not None
    if then and then.prefix == (_prefix(heir) if heir or known else before.prefix):
        return "stays", ""
    kind = "moves" if then else "unplaced"
    if network not in after.topology.place:
        return kind, f"network {network} ends"
    if not known:
        return kind, "where it is belongs to no group"
    if heir is None:
        return kind, f"group {before.group} ends"
    if heir.groups:
        return kind, f"group {heir.path} is split into groups"
    return kind, f"group {heir.path} does not take its labels"


def _prefix(group: Group | None) -> str:
    return str(group.prefix) if group else ""


def _owned(state: State) -> set[str]:
    return {text for text, block in state.blocks.items() if block.node}


def _blocks(state: State, after: State) -> Iterator[BlockChange]:
    """Those that do not simply stay their nodes'."""
    index = after.index
    for text, block in sorted(state.blocks.items(), key=lambda entry: entry[1].prefix):
        if not block.node:
            continue
        there = after.blocks.get(text)
        already = False
        if there is None or there.node != block.node:
            kind = "ended"
        elif there.leaf < 0:
            kind, already = "outside", state.topology.leaf_of(block.prefix) is None
        elif index is not None and there.leaf not in after.hosts[there.node].leaves:
            kind, already = "elsewhere", _elsewhere(state, block)
        else:
            continue
        yield BlockChange(
            kind=kind, block=text, node=block.node, addresses=block.used.bit_count(), already=already
        )  # fmt: skip


def _elsewhere(state: State, block: Block) -> bool:
    """It is in another group than its node already."""
    leaf, host = state.topology.leaf_of(block.prefix), state.hosts[block.node]
    return leaf is not None and all(at.prefix != str(leaf.prefix) for at in _placements(host))
