"""Decisions that were taken, folded into the state: whoever took them, and in any order across
entities, so an address may come before the block that it is in."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

from romana_bus.events import WHILE_IT_RUNS, AddressAssigned, AddressDenied, HostDenied, HostPlaced
from romana_bus.inet import parse_address
from romana_bus.ipam.blocks import ALL
from romana_bus.ipam.entities import pod_key
from romana_bus.ipam.idents import ident_of
from romana_bus.ipam.pods import AS_GIVEN, asks
from romana_bus.ipam.records import Cooling, Held, Record, remaining

if TYPE_CHECKING:
    from romana_bus.events import (
        AddressEvent,
        BlockAssigned,
        BlockReleased,
        GroupOpened,
        HostRemoved,
    )
    from romana_bus.ipam.blocks import Block
    from romana_bus.ipam.entities import Host
    from romana_bus.ipam.state import State


def group_opened(state: State, event: GroupOpened, _seq: int = 0) -> None:
    state.groups[event.network, event.group] = event
    if not state.documented:
        state.topology = state.default()
        state.layout = None


def host_decided(state: State, event: HostPlaced | HostDenied | HostRemoved, _seq: int = 0) -> None:
    host = state.host(intern(event.node))
    host.placed = event if isinstance(event, HostPlaced) else None
    host.denied = event if isinstance(event, HostDenied) else None
    if state.layout is not None:
        state.layout.seat(host)
        state.layout.dirty.stocks.add(host.name)
        state.layout.dirty.retry.add(host.name)
    state.drop_if_empty(host)


def block_assigned(state: State, event: BlockAssigned, _seq: int = 0) -> None:
    block = state.block(event.block)
    if block.node and (block.since, block.node) > (event.since, event.node):
        return
    _take_from(state, block)
    host = state.host(intern(event.node))
    block.network, block.node, block.since = intern(event.network), host.name, event.since
    block.tenant, block.segment = intern(event.tenant), intern(event.segment)
    host.blocks[block.text] = block
    if state.layout is not None:
        state.layout.attach(block)
        state.layout.settle(block)


def block_released(state: State, event: BlockReleased, _seq: int = 0) -> None:
    block = state.block(event.block)
    block.network = block.network or intern(event.network)
    if (event.at, event.until, event.node) > (block.at, block.free_at, block.by):
        block.at, block.free_at, block.by = event.at, event.until, intern(event.node)
    if block.node == event.node and block.since <= event.at:
        _take_from(state, block)
    if not block.node:
        if block.free_at > state.now:
            state.remind(block.free_at, "", block.text)
        if state.layout is not None:
            known = block.taken
            state.layout.settle(block)
            if not known:
                state.layout.remember(block)
        forget_if_over(state, block)


def forget_if_over(state: State, block: Block) -> None:
    """Nobody's, nothing in it, and its place in the order of releases no longer counts."""
    horizon = state.now - state.settings.order_memory
    if not block.node and block.idle and block.at <= horizon and block.free_at <= state.now:
        del state.blocks[block.text]


def _take_from(state: State, block: Block) -> None:
    if not block.node:
        return
    host = state.hosts[block.node]
    if state.layout is not None:
        state.layout.detach(block)
    del host.blocks[block.text]
    block.node, block.tenant, block.segment = "", ALL, ALL
    state.drop_if_empty(host)


def address_decided(state: State, event: AddressEvent, seq: int = 0) -> None:
    """The entity's newest event replaces all that the ones before it said."""
    host = state.hosts.get(event.node) or state.host(intern(event.node))
    record = _record(state, event, pod_key(event.namespace, event.name))
    if state.covers and seq > state.covers.get(host.name, seq):
        state.young.add((host.name, record.key))
    replace(state, host, record)


def replace(state: State, host: Host, record: Record) -> None:
    """What an address event comes to. Whoever decides has the record already, and need not read it out of
    the event that it becomes."""
    old = host.records.get(record.key)
    if state.removed:
        state.removed.pop((host.name, record.key), None)
    touched = {} if old is None else _withdraw(state, old)
    block = record.block
    if block is not None:
        touched[block] = touched.get(block, block.busy)
        _use(state, block, record.offset)
        for held in record.rest.more:
            touched.setdefault(held.block, held.block.busy)
            _use(state, held.block, held.offset)
    for cooling in record.rest.cooling:
        touched.setdefault(cooling.block, cooling.block.busy)
        cooling.block.chill(cooling.offset, cooling.until)
        if cooling.until != WHILE_IT_RUNS:
            state.remind(cooling.until, host.name, record.key)
    _keep(state, host, record)
    if record.rest.cooling or (old is not None and old.rest.cooling):
        keep_for_name(state, host, record)
    if block is not None or (old is not None and old.block is not None):
        _reports_ours(state, host, old, record)
    for block, before in touched.items():
        state.touched(block, before)
    state.drop_if_empty(host)


def _use(state: State, block: Block, offset: int) -> None:
    if block.used >> offset & 1:
        state.shared[block.text, offset] += 1
    block.use(offset)


def _reports_ours(state: State, host: Host, old: Record | None, record: Record) -> None:
    """What a pod reports is remembered only where it is not what it has."""
    pod = state.pods.get(record.key)
    if pod is None or not pod.asks.ips or pod.node != host.name:
        return
    ips = pod.ips
    if ips == AS_GIVEN and old is not None:
        ips = old.ips
    if record.block is not None and ips == record.ips:
        ips = AS_GIVEN
    if ips != pod.ips:
        pod.asks = asks(pod.segment, ips, pod.unfit, pod.wish)


def _record(state: State, event: AddressEvent, key: str) -> Record:
    """With the strings that its pod has already."""
    ident = ident_of(event.uid)
    if (pod := state.pods.get(key)) is not None:
        key, ident = pod.key, pod.ident if pod.ident == ident else ident
    cooling = _cooling(state, event) if event.cooling else ()
    if isinstance(event, AddressAssigned) and event.addresses:
        first, *more = [_held(state, a.block, a.address, a.network) for a in event.addresses]
        rest = remaining(tuple(more), cooling, retention=event.retention)
        return Record(key, ident, intern(event.segment), first.block, first.offset, rest)
    if isinstance(event, AddressDenied):
        rest = remaining((), cooling, intern(event.code), intern(event.reason))
        return Record(key, ident, "", None, 0, rest)
    return Record(key, ident, "", None, 0, remaining((), cooling))


def _cooling(state: State, event: AddressEvent) -> tuple[Cooling, ...]:
    left = [cooling for cooling in event.cooling if cooling.until > state.now]
    held = [_held(state, cooling.block, cooling.address, "") for cooling in left]
    return tuple(
        Cooling(h.block, h.offset, c.until, c.kept, ident_of(c.uid)) for h, c in zip(held, left, strict=True)
    )


def _held(state: State, block_text: str, address: str, network: str) -> Held:
    block = state.blocks.get(block_text) or state.block(block_text)
    if not block.network:
        block.network = intern(network)
    return Held(block, parse_address(address)[1] - block.prefix.base)


def _withdraw(state: State, old: Record) -> dict[Block, int]:
    """What it said is void. Gives the blocks concerned, with their busy bits until now."""
    touched: dict[Block, int] = {}
    if old.block is not None:
        touched[old.block] = old.block.busy
        _leave(state, old.block, old.offset)
        for held in old.rest.more:
            touched.setdefault(held.block, held.block.busy)
            _leave(state, held.block, held.offset)
    for cooling in old.rest.cooling:
        touched.setdefault(cooling.block, cooling.block.busy)
        cooling.block.thaw(cooling.offset, cooling.until)
    return touched


def _leave(state: State, block: Block, offset: int) -> None:
    if not (state.shared and _still_anothers(state, block, offset)):
        block.leave(offset)


def _still_anothers(state: State, block: Block, offset: int) -> bool:
    where = (block.text, offset)
    if where not in state.shared:
        return False
    state.shared[where] -= 1
    if not state.shared[where]:
        del state.shared[where]
    return True


def _keep(state: State, host: Host, record: Record) -> None:
    if record.empty:
        host.records.pop(record.key, None)
    else:
        host.records[record.key] = record
    if record.rest.code:
        host.waiting.add(record.key)
        if state.layout is not None:
            state.layout.wait(host, record.rest.code == "wish")
    elif host.waiting:
        host.waiting.discard(record.key)


def keep_for_name(state: State, host: Host, record: Record) -> None:
    """Whether the node keeps an address for the pod's name may have changed."""
    for cooling in record.rest.cooling:
        if cooling.kept:
            state.kept.setdefault(record.key, set()).add(host.name)
            return
    if nodes := state.kept.get(record.key):
        nodes.discard(host.name)
        if not nodes:
            del state.kept[record.key]
