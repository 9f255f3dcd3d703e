"""A topology onto the log: merged with the one in force, refused where pods would lose their addresses."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.bus.api import WrongSequence
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.common.source import Source, refuse
from romana_bus.errors import BadInput, Failed
from romana_bus.events import SPEC, AddressDisowned, TopologySet, codec
from romana_bus.ipam import evolve
from romana_bus.ipam.change.evictions import evictions, losing, unfinished
from romana_bus.ipam.change.merge import merge
from romana_bus.ipam.change.plan import changes
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from romana_bus.bus.api import Store
    from romana_bus.events import Event, Eviction
    from romana_bus.ipam import State
    from romana_bus.ipam.change.evictions import PodChange
    from romana_bus.ipam.change.plan import Changes

#: Bytes of one message, with room for its headers (NATS takes a MiB).
LARGEST = 1_000_000
#: Messages in flight at a time.
AT_ONCE = 256


class Standing(NamedTuple):
    """What is in force: the newest topology message, and the state that goes with it."""

    seq: int
    event: TopologySet | None
    state: State

    @property
    def document(self) -> dict[str, Any] | None:
        return self.event.document if self.event else None


async def standing(store: Store) -> Standing:
    """The message first: whatever is set after it, this one's sequence no longer fits."""
    newest = await store.newest(SPEC, "spec.topology")
    event = codec.decode(newest.body) if newest else None
    known = event if isinstance(event, TopologySet) else None
    return Standing(newest.seq if newest else 0, known, await ipam_state(store))


def merged(there: Standing, source: Source) -> dict[str, Any]:
    """The file's document with the slots of what is in force. Raises BadInput: a group that has less room
    by that may be too small for a block."""
    document = merge(there.state.topology, source.document)
    try:
        refuse(source._replace(document=document))
    except BadInput as error:
        raise BadInput(
            *(f"{reason} (a level has as many slots as now, or more)" for reason in error.reasons)
        ) from None
    return document


def planned(there: Standing, document: dict[str, Any]) -> Changes:
    """What it would do. All that is made for that is kept until it is done: looking for garbage in it would
    take a third of the time."""
    with contextlib.ExitStack() as stack:
        if gc.isenabled():
            gc.disable()
            stack.callback(gc.enable)
        return changes(there.state, document)


async def put(
    store: Store,
    there: Standing,
    source: Source,
    evict: Iterable[str] = (),
    lost: Sequence[PodChange] | None = None,
) -> bool:
    """Set it, if it is another one and all that lose by it (`lost`, if that is known) are among `evict`.
    Gives whether it was; the state has it then. Raises BadInput, Failed."""
    document = merged(there, source)
    ending = evictions(losing(there.state, document) if lost is None else lost, evict)
    if document == there.document:
        return False
    again = unfinished(there.state, document, there.event.evict) if there.event else ()
    event, later = _fitting(document, tuple(dict.fromkeys((*ending, *again))))
    try:
        seq = await store.publish(SPEC, _message(store, event), there.seq)
    except WrongSequence:
        raise Failed("somebody else set the topology at the same moment: look at it and try again") from None
    await _publish_all(store, later)
    evolve(there.state, event, seq)
    return True


def _fitting(
    document: dict[str, Any], ending: Sequence[Eviction]
) -> tuple[TopologySet, list[AddressDisowned]]:
    """One message, as long as everything fits into one. Else the addresses end by messages of their own,
    behind it."""
    if (size := len(codec.encode(TopologySet(document=document)))) > LARGEST:
        raise BadInput(f"the document is too large to be stored: {size:,} bytes, of {LARGEST:,} at most")
    event = TopologySet(document=document, evict=tuple(ending))
    if len(codec.encode(event)) <= LARGEST:
        return event, []
    reason = "the topology has no place for its address"
    return TopologySet(document=document), [
        AddressDisowned(
            namespace=one.namespace, name=one.name, uid=one.uid, node=one.node, addresses=one.addresses,
            reason=reason,
        )
        for one in ending
    ]  # fmt: skip


def _message(store: Store, event: Event) -> Any:
    return outgoing(event, "", store.clock.now(), store.history)


async def _publish_all(store: Store, events: Sequence[Event]) -> None:
    for some in _chunks(events):
        await asyncio.gather(*(store.publish(SPEC, _message(store, event)) for event in some))


def _chunks(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    for at in range(0, len(events), AT_ONCE):
        yield events[at : at + AT_ONCE]
