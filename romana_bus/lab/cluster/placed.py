"""What the log says about the lab's nodes: where in the topology they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus import codec
from romana_bus.errors import Failed
from romana_bus.events import IPAM, HostDenied, HostPlaced

if TYPE_CHECKING:
    from collections.abc import Container

    from romana_bus.bus.api import Store


async def placements(store: Store, names: Container[str]) -> dict[str, tuple[str, ...]]:
    """Node -> the prefixes of its groups. Raises Failed where one was denied a place."""
    found = {}
    async for messages in store.table(IPAM, "ipam.map.host.>"):
        for message in messages:
            event = codec.decode(message.body)
            if isinstance(event, HostDenied) and event.node in names:
                raise Failed(f"node {event.node} has no place in the topology: {event.reason}")
            if isinstance(event, HostPlaced) and event.node in names:
                found[event.node] = tuple(one.prefix for one in event.placements)
    return found
