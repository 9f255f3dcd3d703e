"""The messages of several streams as one sequence, for `events tail` and the live view."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING

from romana_bus.bus.api import ONCE, Position

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from romana_bus.bus.api import Message, Store


async def tail(
    store: Store, roles: Sequence[str], last: int | None, follow: bool = True
) -> AsyncIterator[list[tuple[str, Message]]]:
    """Yields batches of (role, message). Within a batch each stream's messages keep their order, and streams
    are merged by the time of storing. `last`: how many stored messages of each stream to begin with (None:
    all). Without `follow` it ends at the present. Raises BusError."""
    wake, name = asyncio.Event(), "tail" if follow else f"{ONCE}tail"
    readings, ends = {}, {}
    for role in roles:
        end = await store.tail(role)
        ends[role] = end.last
        start = end.first - 1 if last is None else max(end.first - 1, end.last - last)
        readings[role] = store.follow(role, ">", Position(end.epoch, max(start, 0), ""), wake, name)
    try:
        while follow or any(readings[role].position.seq < ends[role] for role in roles):
            taken = [[(role, message) for message in readings[role].take()] for role in roles]
            if any(taken):
                # Merged, not sorted: if the server's clock was set back, a sort would break a stream's order.
                yield list(heapq.merge(*taken, key=lambda entry: entry[1].stored))
            else:
                await wake.wait()
                wake.clear()
    finally:
        for reading in readings.values():
            await reading.close()
