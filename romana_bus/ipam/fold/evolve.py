"""`evolve` folds one event into the state. What nodes, pods and decisions mean is in `facts`, `decisions`."""

from __future__ import annotations

from heapq import heappop
from typing import TYPE_CHECKING, Any

from romana_bus.events import (
    SPEC,
    AddressAssigned,
    AddressDenied,
    AddressDisowned,
    AddressReleased,
    BlockAssigned,
    BlockReleased,
    GroupOpened,
    HostDenied,
    HostPlaced,
    HostRemoved,
    NodeGone,
    NodeNetwork,
    NodeSeen,
    PodGone,
    PodSeen,
    RangeReserved,
    RangeUnreserved,
    ResourceListing,
    ResourceSynced,
    SandboxRemoved,
    SandboxRequested,
    SettingsChanged,
    TopologyAccepted,
    TopologySet,
)
from romana_bus.events.base import SECOND
from romana_bus.inet import parse_prefix
from romana_bus.ipam.fold import decisions, facts, orders
from romana_bus.ipam.model import sandboxes
from romana_bus.ipam.model.nodes import Ended
from romana_bus.ipam.model.state import Tick
from romana_bus.ipam.topology.document import BadTopology, parse
from romana_bus.ipam.topology.networks import Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.events import Event
    from romana_bus.ipam.model.state import State


#: Why an evicted pod loses its address.
NO_PLACE = "the topology has no place for its address"

#: How often what is gone is forgotten: µs. What follows from it was decided long before.
SWEEP = 600 * SECOND


def evolve(state: State, event: Event | Tick, seq: int = 0) -> None:
    """Folds one event. `seq`: its sequence in its stream, which becomes the cause of decisions. Events that
    do not concern addresses are ignored."""
    fold = _FOLDS.get(type(event))
    if fold is not None:
        fold(state, event, seq)


def topology_set(state: State, event: TopologySet, seq: int, parsed: Topology | None = None) -> None:
    """Folds the operator's document. `parsed`: its topology, where the caller has read it already."""
    state.wanted, state.wanted_seq = event.document, seq
    state.evicted = {
        (eviction.node, eviction.uid): Ended(
            frozenset(eviction.addresses), NO_PLACE, f"{SPEC}/{seq}", eviction.uid
        )
        for eviction in event.evict
    }
    _choose_topology(state, parsed)


def _topology_accepted(state: State, event: TopologyAccepted, _seq: int) -> None:
    state.accepted = event.document
    if state.problem or (state.wanted is None and (event.document or state.documented)):
        _choose_topology(state)


def _choose_topology(state: State, parsed: Topology | None = None) -> None:
    """`parsed`: the topology of the newest document, where that is known.

    The newest document counts. If it cannot be used, the document that was accepted last counts. If there
    is none, no decisions are taken: they would depend on a document that is not known any more."""
    state.rebuild()
    state.problem = state.blocked = ""
    state.to_accept = True
    documents = [document for document in (state.wanted, state.accepted) if document is not None]
    for document in documents:
        state.documented = bool(document) or document is state.wanted
        try:
            if state.documented:
                state.topology = parsed or parse(document)
            else:
                state.topology = state.default()
        except BadTopology as error:
            state.problem = f"the topology document cannot be used: {'; '.join(error.reasons)[:1000]}"
            state.evicted = {}
        else:
            return
    state.topology, state.blocked = Topology(), state.problem


def _settings_changed(state: State, event: SettingsChanged, seq: int) -> None:
    """The next decisions follow the new settings: the index is built again, so every host's spare blocks are
    counted again. What cools down already is free when its release said."""
    state.settings, state.settings_seq = event.settings, seq
    state.default_prefix = parse_prefix(event.settings.default_network)
    if not state.documented:
        state.topology = state.default()
    state.rebuild()


def _range_reserved(state: State, event: RangeReserved, _seq: int) -> None:
    state.reserves[event.cidr] = parse_prefix(event.cidr)
    state.rebuild()


def _range_unreserved(state: State, event: RangeUnreserved, _seq: int) -> None:
    state.reserves.pop(event.cidr, None)
    state.rebuild()


def _tick(state: State, event: Tick, _seq: int) -> None:
    state.now = max(state.now, event.now)
    state.gone_nodes.turn(state.now, SWEEP)
    state.gone_pods.turn(state.now, SWEEP)
    state.hostless.turn(state.now, SWEEP)
    while state.timers and state.timers[0] <= state.now:
        for node, name in state.due.pop(heappop(state.timers)):
            if node:
                _cooled(state, node, name)
            elif (block := state.blocks.get(name)) and state.index is not None:
                state.index.update_free(block)
    state.swept = state.swept or state.now
    if state.now - state.swept >= SWEEP:
        _sweep(state)


def _cooled(state: State, node: str, key: str) -> None:
    """Frees the addresses of the record that have cooled down."""
    host = state.hosts.get(node)
    record = host.records.get(key) if host else None
    if host is None or record is None:
        return
    left = []
    for cooling in record.cooling:
        if cooling.until > state.now:
            left.append(cooling)
            continue
        before = cooling.block.busy
        cooling.block.end_cooling(cooling.offset, state.now)
        state.touched(cooling.block, before)
        if state.index is not None:
            state.index.cooled(key, cooling)
    record.cool(tuple(left))
    if state.kept:
        decisions.keep_for_name(state, host, record)
    if record.empty:
        del host.records[key]
        state.drop_if_empty(host)


def _sweep(state: State) -> None:
    state.swept = state.now
    for block in list(state.blocks.values()):
        decisions.forget_unused_block(state, block)
    state.removed.clear()
    state.forget_reminders()
    if state.ready:
        orders.forget_settled(state)
    if state.index is not None:
        state.index.forget(state.now - state.order_memory)


_FOLDS: dict[type, Callable[[State, Any, int], None]] = {
    PodSeen: facts.pod_seen,
    PodGone: facts.pod_gone,
    NodeSeen: facts.node_seen,
    NodeGone: facts.node_gone,
    NodeNetwork: facts.node_network,
    SandboxRequested: sandboxes.requested,
    SandboxRemoved: sandboxes.removed,
    ResourceListing: facts.listing,
    ResourceSynced: facts.synced,
    AddressAssigned: decisions.address_decided,
    AddressReleased: decisions.address_decided,
    AddressDenied: decisions.address_decided,
    BlockAssigned: decisions.block_assigned,
    BlockReleased: decisions.block_released,
    HostPlaced: decisions.host_decided,
    HostDenied: decisions.host_decided,
    HostRemoved: decisions.host_decided,
    GroupOpened: decisions.group_opened,
    TopologySet: topology_set,
    TopologyAccepted: _topology_accepted,
    SettingsChanged: _settings_changed,
    RangeReserved: _range_reserved,
    RangeUnreserved: _range_unreserved,
    AddressDisowned: orders.address_disowned,
    Tick: _tick,
}
