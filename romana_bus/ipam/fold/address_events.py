"""Converts records to address events and back. Both directions are here, and nowhere else.

The leader builds a record, stores it and publishes its event (`event_of`). Everybody else reads the record
from that event (`record_of`). Both records are equal: the tests hold that for random clusters.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

from romana_bus.events import AddressAssigned, AddressDenied, AddressReleased, CoolingAddress, PodAddress
from romana_bus.inet import parse_address
from romana_bus.ipam.model.nodes import pod_key
from romana_bus.ipam.model.records import Cooling, Held, make_record
from romana_bus.ipam.model.uids import ident_of, text_of

if TYPE_CHECKING:
    from romana_bus.events import AddressEvent
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State


def event_of(
    state: State, node: str, record: Record, *,
    reason: str = "", scope: str = "", requested_retention: int = 0,
) -> AddressEvent:  # fmt: skip
    """The event of a record on a node: an assignment, a denial or a release. `reason`: of a release, or of a
    retention that is shorter than `requested_retention`. `scope`: of a denial. A record keeps none of
    them."""
    namespace, _, name = record.key.partition("/")
    cooling = _cooling_to_event(record.rest.cooling) if record.rest.cooling else ()
    if record.block is not None:
        return AddressAssigned(
            namespace=namespace, name=name, uid=record.uid, node=node, tenant=namespace,
            segment=record.segment, addresses=_held_to_event(state, record, record.block), cooling=cooling,
            retention=record.rest.retention, requested_retention=requested_retention, reason=reason,
        )  # fmt: skip
    if record.rest.code:
        return AddressDenied(
            namespace=namespace, name=name, uid=record.uid, node=node, code=record.rest.code,
            reason=record.rest.reason, cooling=cooling, scope=scope,
        )  # fmt: skip
    return AddressReleased(
        namespace=namespace, name=name, uid=record.uid, node=node, reason=reason, cooling=cooling
    )


def record_of(state: State, event: AddressEvent) -> Record:
    """The record that the event describes. It shares the strings that its pod has already. Blocks that the
    state does not have yet are added to it."""
    key, ident = pod_key(event.namespace, event.name), ident_of(event.uid)
    if (pod := state.pods.get(key)) is not None:
        key, ident = pod.key, pod.ident if pod.ident == ident else ident
    cooling = _cooling_from_event(state, event) if event.cooling else ()
    if isinstance(event, AddressAssigned) and event.addresses:
        held = tuple([_held(state, given.block, given.address, given.network) for given in event.addresses])
        segment, retention, fixed = intern(event.segment), event.retention, _fixed_from_event(event)
        return make_record(key, ident, held, cooling, segment=segment, retention=retention, fixed=fixed)
    if isinstance(event, AddressDenied):
        code, reason = intern(event.code), intern(event.reason)
        return make_record(key, ident, cooling=cooling, code=code, reason=reason)
    return make_record(key, ident, cooling=cooling)


def _held_to_event(state: State, record: Record, first: Block) -> tuple[PodAddress, ...]:
    # The first address is not made a `Held`: most records have no other, and they are written all the time.
    fixed, more = record.rest.fixed, record.rest.more
    address = _pod_address(state, first, record.offset, bool(fixed & 1))
    if not more:
        return (address,)
    others = (
        _pod_address(state, held.block, held.offset, bool(fixed >> n & 1)) for n, held in enumerate(more, 1)
    )
    return (address, *others)


def _pod_address(state: State, block: Block, offset: int, fixed: bool) -> PodAddress:
    network = state.topology.leaves[block.leaf].network if block.leaf >= 0 else block.network
    return PodAddress(address=block.address(offset), network=network, block=block.text, fixed=fixed)


def _fixed_from_event(event: AddressAssigned) -> int:
    return sum(1 << n for n, given in enumerate(event.addresses) if given.fixed)


def _held(state: State, block_text: str, address: str, network: str) -> Held:
    block = state.blocks.get(block_text) or state.block(block_text)
    if not block.network:
        block.network = intern(network)
    return Held(block, parse_address(address)[1] - block.prefix.base)


def _cooling_to_event(cooling: tuple[Cooling, ...]) -> tuple[CoolingAddress, ...]:
    return tuple(
        [
            CoolingAddress(
                address=old.address,
                block=old.block.text,
                until=old.until,
                kept=old.kept,
                uid=text_of(old.ident) if old.ident else "",
            )
            for old in cooling
        ]
    )


def _cooling_from_event(state: State, event: AddressEvent) -> tuple[Cooling, ...]:
    """Without the addresses that have cooled down by now."""
    left = [cooling for cooling in event.cooling if cooling.until > state.now]
    held = [_held(state, cooling.block, cooling.address, "") for cooling in left]
    return tuple(
        Cooling(h.block, h.offset, c.until, c.kept, ident_of(c.uid)) for h, c in zip(held, left, strict=True)
    )
