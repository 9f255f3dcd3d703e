"""A report that the log has for as long as it is true: published whenever it differs from the newest one
there. Who asks gets it at any time (`alive.py`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from romana_bus import tasks
from romana_bus.bus.api import StreamMissing, Unavailable
from romana_bus.events import NODE, codec
from romana_bus.runtime import alive
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.bus.api import Store
    from romana_bus.events import Report

log = structlog.get_logger(__name__)

#: Seconds: within which changes become one report; before a failed report is retried; until it is noticed
#: that the connection is another one, which may lead to another log.
COALESCE, RETRY, RECONNECTED = 0.5, 1.0, 5.0


async def keep_reported(
    store: Store,
    current: Callable[[], Report | None],
    changed: asyncio.Event,
    listings: Callable[[], int],
) -> None:
    """Publish what `current` returns, until cancelled. None: not known yet. `listings()`: how often the map
    has listed the node anew; each time the report is published again, since it may have been forgotten with a
    node that was gone. `changed` is set when one of them returns something else; without that it is noticed a
    few seconds later. Raises Closed, Refused."""
    stored: tuple[Report, int, int] | None = None
    listed = listings()
    silence = await alive.answer(store, current)
    try:
        while True:
            changed.clear()
            report, generation, times = current(), store.generation, listings()
            try:
                if report is not None and (report, generation, times) != stored:
                    if times != listed or await _is_new(store, report):
                        await store.publish(NODE, outgoing(report, "", store.clock.now(), store.history))
                    stored, listed = (report, generation, times), times
            except (Unavailable, StreamMissing) as error:
                log.info("a report could not be stored", subject=report and report.subject(), why=str(error))
                await asyncio.sleep(RETRY)
                continue
            await tasks.until_set(changed, RECONNECTED)
            if changed.is_set():
                await asyncio.sleep(COALESCE)
    finally:
        await silence()


async def _is_new(store: Store, report: Report) -> bool:
    newest = await store.newest(NODE, report.subject())
    return newest is None or codec.decode(newest.body) != report
