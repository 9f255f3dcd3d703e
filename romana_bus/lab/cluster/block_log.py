"""The blocks in the lab's log: those assigned now, and those assigned after a given sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.bus.auth.permissions import READ
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.reading.tail import tail
from romana_bus.bus.stream_config import DAY, Layout
from romana_bus.events import IPAM, ROLES, BlockAssigned, codec

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.bus.connect import Session
    from romana_bus.lab.machine.directory import Lab


async def log_of(lab: Lab) -> Session:
    """Connects to the lab's log. Raises Failed."""
    return await open_store(
        Access(servers=(lab.nats().url,), creds=lab.credentials),
        Layout(lab.spec.name, 7 * DAY, 1),
        "lab",
        ROLES,
        who=READ,
    )


async def blocks(store: Store) -> dict[str, list[str]]:
    """Node -> its blocks now."""
    newest = {}  # subject -> event: older ones may come before it
    async for messages in store.table(IPAM, "ipam.map.block.>"):
        for message in messages:
            newest[message.subject] = codec.decode(message.body)
    of_node: dict[str, list[str]] = {}
    for event in newest.values():
        if isinstance(event, BlockAssigned):
            of_node.setdefault(event.node, []).append(event.block)
    return of_node


async def opened_since(store: Store, sequence: int) -> list[BlockAssigned]:
    """The blocks that were assigned after this sequence of the stream IPAM."""
    opened = []
    async for batch in tail(store, [IPAM], last=None, follow=False):
        for _, message in batch:
            event = codec.decode(message.body) if message.seq > sequence else None
            if isinstance(event, BlockAssigned):
                opened.append(event)
    return opened
