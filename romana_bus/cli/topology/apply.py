"""Sets a topology: merges it with the one in force, and refuses it if pods would lose their addresses."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.bus.api import WrongSequence
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.common.topology_file import Source, refuse
from romana_bus.errors import BadInput, Failed
from romana_bus.events import SPEC, AddressDisowned, TopologySet, codec
from romana_bus.ipam.change.evictions import evictions, losing, unfinished
from romana_bus.ipam.change.merge import merge
from romana_bus.ipam.change.plan import changes
from romana_bus.ipam.fold.evolve import NO_PLACE, topology_set
from romana_bus.ipam.topology.networks import Topology
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from romana_bus.bus.api import Store
    from romana_bus.events import Event, Eviction
    from romana_bus.ipam import State
    from romana_bus.ipam.change.evictions import PodChange
    from romana_bus.ipam.change.plan import Changes

#: The largest body of a topology message, in bytes, with its evictions. NATS takes 1 MiB, headers included.
LARGEST = 1_000_000
#: Messages in flight at a time.
AT_ONCE = 256


class Current(NamedTuple):
    """What is in force: the newest topology message with its sequence, and the state."""

    seq: int
    event: TopologySet | None
    state: State

    @property
    def document(self) -> dict[str, Any] | None:
        return self.event.document if self.event else None


async def current(store: Store) -> Current:
    """Read what is in force."""
    # The message first: if another topology is set after it, the sequence no longer fits and `put` fails.
    newest = await store.newest(SPEC, "spec.topology")
    event = codec.decode(newest.body) if newest else None
    known = event if isinstance(event, TopologySet) else None
    return Current(newest.seq if newest else 0, known, await ipam_state(store))


class Merged(NamedTuple):
    """A document to set, and its topology: a document is parsed once, on its way through a command."""

    document: dict[str, Any]
    topology: Topology


def merged(current: Current, source: Source) -> Merged:
    """The file's document with the slots of the topology in force. Raises BadInput if that makes a group too
    small for a block."""
    document = merge(current.state.topology, source.document)
    try:
        networks = refuse(source._replace(document=document)).networks
    except BadInput as error:
        raise BadInput(
            *(f"{reason} (a level keeps at least the slots that it has now)" for reason in error.reasons)
        ) from None
    return Merged(document, Topology(networks))


def planned(current: Current, wanted: Merged) -> Changes:
    """What the document would change."""
    # The garbage collector would take a third of the time, and find nothing before the end.
    with contextlib.ExitStack() as stack:
        if gc.isenabled():
            gc.disable()
            stack.callback(gc.enable)
        return changes(current.state, wanted.document, wanted.topology)


async def put(
    store: Store,
    current: Current,
    wanted: Merged,
    evict: Iterable[str] = (),
    lost: Sequence[PodChange] | None = None,
) -> bool:
    """Sets the topology, if it differs from the current one. Returns whether it did; the state then has it.

    `lost`: the pods that lose an address, if that is known; `evict` has to name all of them. Raises BadInput,
    Failed."""
    document, new = wanted
    ending = evictions(losing(current.state, new) if lost is None else lost, evict)
    if document == current.document:
        return False
    remaining = unfinished(current.state, new, current.event.evict) if current.event else ()
    event, later = _fitting(document, tuple(dict.fromkeys((*ending, *remaining))))
    try:
        seq = await store.publish(SPEC, _message(store, event), current.seq)
    except WrongSequence:
        raise Failed("another command set the topology at the same time: check it and try again") from None
    await _publish_all(store, later)
    topology_set(current.state, event, seq, new)
    return True


def _fitting(
    document: dict[str, Any], ending: Sequence[Eviction]
) -> tuple[TopologySet, list[AddressDisowned]]:
    """The topology message with its evictions, if they fit into one message. Else the evictions are messages
    of their own, which follow it."""
    if (size := len(codec.encode(TopologySet(document=document)))) > LARGEST:
        raise BadInput(f"the document has {size:,} bytes, and at most {LARGEST:,} can be stored")
    event = TopologySet(document=document, evict=tuple(ending))
    if len(codec.encode(event)) <= LARGEST:
        return event, []
    return TopologySet(document=document), [
        AddressDisowned(
            namespace=eviction.namespace, name=eviction.name, uid=eviction.uid, node=eviction.node,
            addresses=eviction.addresses,
            reason=NO_PLACE,
        )
        for eviction in ending
    ]  # fmt: skip


def _message(store: Store, event: Event) -> Any:
    return outgoing(event, "", store.clock.now(), store.history)


async def _publish_all(store: Store, events: Sequence[Event]) -> None:
    for start in range(0, len(events), AT_ONCE):
        chunk = events[start : start + AT_ONCE]
        await asyncio.gather(*(store.publish(SPEC, _message(store, event)) for event in chunk))
