"""Folds decisions into the state.

They come in the order of their sequence. The older messages of an entity may be missing, so an address may
come before its block. A decision that contradicts an earlier one (it assigns an address or a block that
belongs to another pod or node) is refused: the earlier one counts as long as it lasts.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

from romana_bus.events import (
    WHILE_IT_RUNS,
    AddressEvent,
    BlockAssigned,
    HostDenied,
    HostPlaced,
)
from romana_bus.ipam.fold.address_events import record_of
from romana_bus.ipam.model.blocks import ALL
from romana_bus.ipam.model.pods import AS_GIVEN, make_details
from romana_bus.ipam.model.records import Held, make_record
from romana_bus.ipam.model.state import Refusal

if TYPE_CHECKING:
    from romana_bus.events import BlockReleased, GroupOpened, HostRemoved
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State


def group_opened(state: State, event: GroupOpened, seq: int) -> None:
    """Stores the group. Without a topology document, the default topology is built again, with the group. It
    is refused where another group has its prefix."""
    key = event.network, event.group
    state.refused.pop(("group", *key), None)
    others = (group for other, group in state.groups.items() if other != key)
    if owner := next((group for group in others if group.prefix == event.prefix), None):
        reason = f"{event.prefix} belongs to group {owner.group}"
        state.refused["group", *key] = Refusal(event, seq, reason)
        return
    state.groups[key] = event
    if not state.documented:
        state.topology = state.default()
        state.rebuild()


def host_decided(state: State, event: HostPlaced | HostDenied | HostRemoved, _seq: int) -> None:
    """Stores where the node is placed, or why it is not, or removes its placement. Its waiting pods are
    decided again. The newest of these events counts: none is refused."""
    host = state.host(intern(event.node))
    host.placed = event if isinstance(event, HostPlaced) else None
    host.denied = event if isinstance(event, HostDenied) else None
    if state.index is not None:
        state.index.place_host(host)
        state.index.dirty.spares.add(host.name)
    state.drop_if_empty(host)


def block_assigned(state: State, event: BlockAssigned, seq: int) -> None:
    """Gives the block to the node, for the tenant and segment that the event names. Refused where another
    node has the block, or one that overlaps it: then its present owner keeps it."""
    entity = "block", event.node, event.block
    state.refused.pop(entity, None)
    block = state.block(event.block)
    if reason := _other_owner(state, block, event.node):
        state.refused[entity] = Refusal(event, seq, reason)
        return
    _take_from_host(state, block)
    host = state.host(intern(event.node))
    block.network, block.node, block.since = intern(event.network), host.name, event.since
    block.tenant, block.segment = intern(event.tenant), intern(event.segment)
    block.at, block.free_at, block.by = 0, 0, ""
    host.blocks[block.text] = block
    if state.index is not None:
        state.index.attach(block)
        state.index.update_free(block)


def block_released(state: State, event: BlockReleased, _seq: int) -> None:
    """The newest message about a block counts. A release by a node that does not have the block is
    ignored."""
    state.refused.pop(("block", event.node, event.block), None)
    block = state.block(event.block)
    if block.node == event.node:
        _take_from_host(state, block)
    elif block.node:
        return
    block.network = block.network or intern(event.network)
    block.at, block.free_at, block.by = event.at, event.until, intern(event.node)
    if block.free_at > state.now:
        state.remind(block.free_at, "", block.text)
    if state.index is not None:
        taken = block.taken
        state.index.update_free(block)
        if not taken:
            state.index.remember(block)
    forget_unused_block(state, block)
    if state.refused:
        _retry_refused(state, "block")


def forget_unused_block(state: State, block: Block) -> None:
    """Forgets a block that belongs to nobody, is empty, and was released so long ago that its order is
    void."""
    horizon = state.now - state.order_memory
    if not block.node and block.idle and block.at <= horizon and block.free_at <= state.now:
        state.forget(block)


def _take_from_host(state: State, block: Block) -> None:
    if not block.node:
        return
    host = state.hosts[block.node]
    if state.index is not None:
        state.index.detach(block)
    del host.blocks[block.text]
    block.node, block.since, block.tenant, block.segment = "", 0, ALL, ALL
    state.drop_if_empty(host)


def address_decided(state: State, event: AddressEvent, seq: int) -> None:
    """The newest event of an entity replaces the earlier ones. An event that assigns an address of another
    pod is refused: then the entity has no address."""
    host = state.hosts.get(event.node) or state.host(intern(event.node))
    record = record_of(state, event)
    if state.covers and seq > state.covers.get(host.name, seq):
        state.young.add((host.name, record.key))
    if state.refused:
        state.refused.pop(("address", host.name, record.key), None)
    if reason := _contradiction(state, host, record) if record.block is not None else "":
        state.refused["address", host.name, record.key] = Refusal(event, seq, reason)
        record = make_record(record.key, record.ident)
    replace(state, host, record)
    if record.rest.code and state.index is not None:
        # Another leader's denial: what the pod waits for is found when it is tried.
        state.index.dirty.records.add((host.name, record.key))


def _other_owner(state: State, block: Block, node: str) -> str:
    """Why the block cannot be the node's: another node has it, or one that overlaps it; or ''."""
    if block.node and block.node != node:
        return f"it belongs to node {block.node}"
    others = state.overlaps.of(block) if state.overlaps.possible(block) else ()
    return next((f"node {o.node} has {o.text}, which overlaps it" for o in others if o.node), "")


def _contradiction(state: State, host: Host, record: Record) -> str:
    """Which address of the record belongs to another pod, as a reason, or ''."""
    old = host.records.get(record.key)
    for held in record.held:
        block, offset = held.block, held.offset
        if block.used >> offset & 1 and (old is None or held not in old.held):
            return f"{block.address(offset)} is another pod's"
        if state.overlaps.possible(block):
            for other, inside in state.overlaps.around(block, offset):
                mine = old is not None and Held(other, inside) in old.held
                if other.used >> inside & 1 and not mine:
                    return f"{block.address(offset)} is another pod's, in block {other.text}"
    return ""


def _retry_refused(state: State, kind: str) -> None:
    """Folds refused decisions again: something was released, so they may no longer contradict anything."""
    for entity, refusal in [item for item in state.refused.items() if item[0][0] == kind]:
        if isinstance(refusal.event, BlockAssigned):
            block_assigned(state, refusal.event, refusal.seq)
        elif isinstance(refusal.event, AddressEvent) and state.refused.get(entity) is refusal:
            address_decided(state, refusal.event, refusal.seq)


def replace(state: State, host: Host, record: Record) -> None:
    """Replaces the record of a pod's name on a node. A leader has the record already; a replica reads it from
    the event."""
    old = host.records.get(record.key)
    if state.removed:
        state.removed.pop((host.name, record.key), None)
    touched = {} if old is None else _undo(old)
    block = record.block
    if block is not None:
        touched[block] = touched.get(block, block.busy)
        block.use(record.offset)
        for held in record.rest.more:
            touched.setdefault(held.block, held.block.busy)
            held.block.use(held.offset)
    for cooling in record.rest.cooling:
        touched.setdefault(cooling.block, cooling.block.busy)
        cooling.block.start_cooling(cooling.offset, cooling.until)
        if cooling.until != WHILE_IT_RUNS:
            state.remind(cooling.until, host.name, record.key)
    _store(host, record)
    if state.index is not None:
        state.index.replaced(host, old, record)
    if record.rest.cooling or (old is not None and old.rest.cooling):
        keep_for_name(state, host, record)
    if block is not None or (old is not None and old.block is not None):
        _update_reported(state, host, old, record)
    for block, before in touched.items():
        state.touched(block, before)
    if old is not None and old.block is not None:
        if state.refused:
            _retry_refused(state, "address")
        if record.block is None and not host.seen and state.index is not None:
            state.index.dirty.hosts.add(host.name)  # its last pod may be gone
    state.drop_if_empty(host)


def _update_reported(state: State, host: Host, old: Record | None, record: Record) -> None:
    """Stores the addresses that the pod reports only where they differ from those that it has."""
    pod = state.pods.get(record.key)
    if pod is None or not pod.details.ips or pod.node != host.name:
        return
    ips = pod.ips
    if ips == AS_GIVEN and old is not None:
        ips = old.ips
    if record.block is not None and ips == record.ips:
        ips = AS_GIVEN
    if ips != pod.ips:
        pod.details = make_details(pod.segment, ips, pod.unfit, pod.request)


def _undo(old: Record) -> dict[Block, int]:
    """Takes back what the record did to its blocks. Returns these blocks, with their busy bits until now."""
    touched: dict[Block, int] = {}
    if old.block is not None:
        touched[old.block] = old.block.busy
        old.block.release(old.offset)
        for held in old.rest.more:
            touched.setdefault(held.block, held.block.busy)
            held.block.release(held.offset)
    for cooling in old.rest.cooling:
        touched.setdefault(cooling.block, cooling.block.busy)
        cooling.block.end_cooling(cooling.offset, cooling.until)
    return touched


def _store(host: Host, record: Record) -> None:
    """Puts the record into its host, unless it is empty."""
    if record.empty:
        host.records.pop(record.key, None)
    else:
        host.records[record.key] = record


def keep_for_name(state: State, host: Host, record: Record) -> None:
    """Updates whether the node keeps an address for the pod's name."""
    kept = False
    for cooling in record.rest.cooling:
        kept = kept or cooling.kept
    nodes = state.kept.get(record.key)
    if kept == (nodes is not None and host.name in nodes):
        return
    if kept:
        state.kept.setdefault(record.key, set()).add(host.name)
    elif nodes is not None:
        nodes.discard(host.name)
        if not nodes:
            del state.kept[record.key]
    if state.index is not None:
        state.index.kept_changed(record.key)
