"""Watches how full the store is, for the processes that write most of it: warnings in /readyz, which stays
ready, and metrics.

Reads: the streams' and the account's information, every half minute. Writes: nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics
from romana_bus.bus.api import BusError
from romana_bus.bus.jetstream.usage import usage
from romana_bus.bus.space.alarms import StoreUse, alarms, share
from romana_bus.events import ROLES
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.runtime.health import Health

log = structlog.get_logger(__name__)

#: Seconds between two looks.
EVERY = 30.0


@contextlib.asynccontextmanager
async def watched_store(store: JetStream, health: Health) -> AsyncIterator[None]:
    """Watch the store as long as this context lasts."""
    warnings: list[str] = []
    health.warn("store", lambda: warnings)

    async def watch() -> None:
        while True:
            try:
                use = await usage(store, ROLES)
            except BusError:  # the log's own health tells
                pass
            else:
                _measure(use)
                before, warnings[:] = set(warnings), alarms(use, store.clock.now())
                if warnings and not before:
                    log.warning("the store is nearly full", what="; ".join(warnings))
            await asyncio.sleep(EVERY)

    task = asyncio.create_task(watch(), name="watch the store")
    try:
        yield
    finally:
        await stop(task)


def _measure(use: StoreUse) -> None:
    for stream in use.streams:
        labels = stream.role, "table" if stream.table else "log"
        metrics.STREAM_BYTES.labels(*labels).set(stream.bytes)
        metrics.STREAM_USED.labels(*labels).set(share(use, stream))
    rooms = [room.share for room in use.all_rooms]
    metrics.STORE_USED.set(max(rooms, default=0.0))
