"""Reports on the log: Applied and ApplyFailed of a reconciler, MessagesParked of a leader.

There are thousands of reconcilers on one log, so they report what has changed, and nothing else. A failure is
published at once, and so is the first success after it. Work that changed something is published at most once
in SPACING seconds; the report sums up what happened since the last one. Where only the counts have changed,
since a host moved for example, a report follows within QUIET seconds. Who asks gets a report at any time
(`alive.py`).
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import structlog

from romana_bus import tasks
from romana_bus.bus.api import BusError
from romana_bus.bus.writing.publish import Publisher
from romana_bus.events import (
    NODE,
    Applied,
    ApplyFailed,
    ForeignWriteSeen,
    MessagesParked,
    ParkedMessage,
    codec,
)
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.bus.api import ForeignWrite, Store
    from romana_bus.runtime.parked import ParkedEntry

log = structlog.get_logger(__name__)

#: Seconds. A reconciler that has not turned for STUCK seconds answers nobody.
SPACING, QUIET, STUCK = 1.0, 30.0, 10.0


class Reports:
    """The reports of one reconciler. `standing()`: its counts, `refused()`: what it refuses, by name; called
    only where they are needed."""

    def __init__(
        self,
        store: Store,
        node: str,
        consumer: str,
        standing: Callable[[], dict[str, int]],
        refused: Callable[[], dict[str, str]] = dict,
    ) -> None:
        self.publisher = Publisher(store, NODE)
        self._store, self._node, self._consumer = store, node, consumer
        self._standing, self._refused = standing, refused
        self._covers: dict[str, int] = {}
        self._published: Applied | None = None  # the newest report of a success
        self._looked_at: dict[str, int] = {}  # what was covered when the counts were compared last
        self._turned = 0.0
        self._changes = self._took = 0
        self._cause = ""
        self._last = -math.inf
        self._failure: ApplyFailed | None = None  # while there was no success after it

    def applied(self, covers: dict[str, int], changes: int, took: int, cause: str = "") -> None:
        """Note a successful pass. `covers`: stream -> sequence up to which everything is applied. `took`: µs.
        `cause`: STREAM/SEQUENCE of the event that led to the changes, or ''."""
        self._covers = covers
        self._cause = cause or self._cause
        self._changes += changes
        self._took += took

    async def failed(self, covers: dict[str, int], error: str, attempt: int) -> None:
        """Publish a failure, unless earlier reports still wait for the log. Raises Refused, Closed."""
        self._failure = ApplyFailed(
            node=self._node, consumer=self._consumer, covers=covers, error=error, attempt=attempt
        )
        if not self.publisher.queued:
            await self._put(self._failure)

    def turned(self) -> None:
        """Note that the reconciler's loop goes on."""
        self._turned = tasks.monotonic()

    def current(self) -> Applied | ApplyFailed | None:
        """What would be reported now; None before the first pass, and while the loop is stuck."""
        if tasks.monotonic() - self._turned > STUCK:
            return None
        return self._failure or (self._report() if self._covers else None)

    @property
    def due(self) -> float:
        """When to publish the next report, by the monotonic clock. Never while one still waits for the log:
        once that is stored, the newest one follows."""
        if self.publisher.queued:
            return math.inf
        if self._published is None or self._failure:
            return self._last
        if self._changes:
            return self._last + SPACING
        return self._last + QUIET if self._covers != self._looked_at else math.inf

    async def publish_if_due(self) -> None:
        """Raises Refused, Closed."""
        if not self._covers or tasks.monotonic() < self.due:
            return
        known = self._published
        if known is None or self._failure or self._changes or self._differs(known):
            await self.publish()
        else:
            self._last, self._looked_at = tasks.monotonic(), self._covers

    def _differs(self, known: Applied) -> bool:
        return self._standing() != known.standing or self._refused() != known.refused

    async def publish(self) -> None:
        """Publish what was applied since the last report. Raises Refused, Closed."""
        report = self._report()
        await self._put(report, self._cause)
        self._published, self._failure, self._looked_at = report, None, self._covers
        self._changes = self._took = 0
        self._cause = ""

    async def close(self) -> None:
        """Publish changes that were not reported yet. Raises Refused, Closed, Unavailable."""
        if self._changes and not self._failure:
            await self.publish()
        await self.publisher.flush()

    def _report(self) -> Applied:
        return Applied(
            node=self._node,
            consumer=self._consumer,
            covers=self._covers,
            changes=self._changes,
            took=self._took,
            standing=self._standing(),
            refused=self._refused(),
        )

    async def _put(self, report: Applied | ApplyFailed, cause: str = "") -> None:
        self._last = tasks.monotonic()
        await self.publisher.put(outgoing(report, cause, self._store.clock.now(), self._store.history))


#: Parked messages of each stream that a report names, and the most characters of each subject and reason.
NAMED, REASON = 10, 300


class ParkedReports:
    """The reports of a consumer's leader on messages that it cannot use."""

    def __init__(self, store: Store, consumer: str) -> None:
        self._store, self._consumer = store, consumer
        self._publisher = Publisher(store, NODE)
        self._published: list[ParkedEntry] | None = None

    async def keep_up(self, unusable: Callable[[], list[ParkedEntry]]) -> None:
        """Publish MessagesParked whenever the list has changed, until cancelled."""
        while True:
            try:
                entries = unusable()
                if entries != self._published and (self._published or await self._differs(entries)):
                    await self._put(self._report(entries))
                self._published = entries
            except BusError as error:
                log.info("parked messages could not be reported", why=str(error))
            await asyncio.sleep(SPACING)

    async def _differs(self, entries: list[ParkedEntry]) -> bool:
        """Whether the newest report on the log says something else. Raises BusError."""
        report = self._report(entries)
        newest = await self._store.newest(NODE, report.subject())
        return codec.decode(newest.body) != report if newest else bool(entries)

    def _report(self, entries: list[ParkedEntry]) -> MessagesParked:
        named = [
            ParkedMessage(
                stream=entry.role,
                seq=entry.seq,
                subject=entry.subject[:REASON],
                reason=entry.reason[:REASON],
            )
            for entry in _newest_of_each_stream(entries)
        ]
        return MessagesParked(consumer=self._consumer, count=len(entries), parked=tuple(named))

    async def foreign(self, error: ForeignWrite) -> None:
        """Publish ForeignWriteSeen. Raises Refused, Closed."""
        log.error("somebody else writes what only the leader may", stream=error.role, seq=error.seq)
        written = error.foreign_subject[:REASON]
        await self._put(
            ForeignWriteSeen(consumer=self._consumer, stream=error.role, seq=error.seq, written=written)
        )

    async def close(self) -> None:
        await self._publisher.close()

    async def _put(self, report: MessagesParked | ForeignWriteSeen) -> None:
        await self._publisher.put(outgoing(report, "", self._store.clock.now(), self._store.history))


def _newest_of_each_stream(entries: list[ParkedEntry]) -> list[ParkedEntry]:
    """The last NAMED entries of each stream. `entries`: in log order."""
    by_stream: dict[str, list[ParkedEntry]] = {}
    for entry in entries:
        by_stream.setdefault(entry.role, []).append(entry)
    return [entry for role in sorted(by_stream) for entry in by_stream[role][-NAMED:]]
