"""What a reconciler says of its work, as seldom as is useful: there are thousands of them on one log.

A failure is said at once, and so is the first success behind it. Work that changed something is said at
most once in SPACING seconds: the newest report takes in those before it. That nothing had to be changed up
to a sequence is said within QUIET seconds, and a sign of life comes within LIFE seconds anyway.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import structlog

from romana_bus import tasks
from romana_bus.bus.api import BusError
from romana_bus.bus.publish import Publisher
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
    from romana_bus.runtime.parked import Flaw

log = structlog.get_logger(__name__)

#: Seconds.
SPACING, QUIET, LIFE = 1.0, 30.0, 60.0


class Reports:
    """`standing`: how it stands outside; asked only for what is published."""

    def __init__(
        self, store: Store, node: str, consumer: str, standing: Callable[[], dict[str, int]]
    ) -> None:
        self.publisher = Publisher(store, NODE)
        self._store, self._node, self._consumer, self._standing = store, node, consumer, standing
        self._covers: dict[str, int] = {}
        self._said: dict[str, int] | None = None  # what the newest report covers
        self._changes = self._took = 0
        self._cause = ""
        self._last = -LIFE
        self._failed = False

    def applied(self, covers: dict[str, int], changes: int, took: int, cause: str = "") -> None:
        """`cause`: STREAM/SEQUENCE of the event that led to the changes; '' where none did."""
        self._covers = covers
        self._cause = cause or self._cause
        self._changes += changes
        self._took += took

    async def failed(self, covers: dict[str, int], error: str, attempt: int) -> None:
        """Said at once, unless those before it still wait for the log. Raises Refused, Closed."""
        self._failed = True
        if not self.publisher.queued:
            node, consumer = self._node, self._consumer
            await self._say(
                ApplyFailed(node=node, consumer=consumer, covers=covers, error=error, attempt=attempt)
            )

    @property
    def due(self) -> float:
        """When something is to be said, by the monotonic clock. Nothing is queued behind a report that waits
        for the log: when that is stored, the newest one follows."""
        if self.publisher.queued:
            return math.inf
        if self._said is None or self._failed:
            return self._last
        if self._changes:
            return self._last + SPACING
        return self._last + (QUIET if self._covers != self._said else LIFE)

    async def say_if_due(self) -> None:
        """Raises Refused, Closed."""
        if self._covers and tasks.monotonic() >= self.due:
            await self.say()

    async def say(self) -> None:
        await self._say(
            Applied(
                node=self._node,
                consumer=self._consumer,
                covers=self._covers,
                changes=self._changes,
                took=self._took,
                standing=self._standing(),
            ),
            self._cause,
        )
        self._said, self._failed = self._covers, False
        self._changes = self._took = 0
        self._cause = ""

    async def close(self) -> None:
        """What was not said yet is said. Raises Refused, Closed, Unavailable."""
        if self._changes and not self._failed:
            await self.say()
        await self.publisher.flush()

    async def _say(self, report: Applied | ApplyFailed, cause: str = "") -> None:
        self._last = tasks.monotonic()
        await self.publisher.put(outgoing(report, cause, self._store.clock.now(), self._store.history))


#: Parked messages of each stream that a report names, and the characters of their reasons.
NAMED, REASON = 10, 300


class FlawReports:
    """What the leader of a consumer says of messages on the log that it cannot use."""

    def __init__(self, store: Store, consumer: str) -> None:
        self._store, self._consumer = store, consumer
        self._publisher = Publisher(store, NODE)
        self._said: list[Flaw] | None = None

    async def keep_up(self, found: Callable[[], list[Flaw]]) -> None:
        """For ever: say it whenever it is another."""
        while True:
            try:
                if (now := found()) != self._said and (self._said or await self._is_news(now)):
                    await self._publish(self._parked(now))
                self._said = now
            except BusError as error:
                log.info("what was parked could not be reported", why=str(error))
            await asyncio.sleep(SPACING)

    async def _is_news(self, flaws: list[Flaw]) -> bool:
        """Raises BusError."""
        report = self._parked(flaws)
        newest = await self._store.newest(NODE, report.subject())
        return codec.decode(newest.body) != report if newest else bool(flaws)

    def _parked(self, flaws: list[Flaw]) -> MessagesParked:
        named = [
            ParkedMessage(
                stream=one.role, seq=one.seq, subject=one.subject[:REASON], reason=one.reason[:REASON]
            )
            for one in _newest_of_each_stream(flaws)
        ]
        return MessagesParked(consumer=self._consumer, count=len(flaws), parked=tuple(named))

    async def foreign(self, error: ForeignWrite) -> None:
        log.error("somebody else writes what only the leader may", stream=error.role, seq=error.seq)
        written = error.foreign_subject[:REASON]
        await self._publish(
            ForeignWriteSeen(consumer=self._consumer, stream=error.role, seq=error.seq, written=written)
        )

    async def close(self) -> None:
        await self._publisher.close()

    async def _publish(self, report: MessagesParked | ForeignWriteSeen) -> None:
        await self._publisher.put(outgoing(report, "", self._store.clock.now(), self._store.history))


def _newest_of_each_stream(flaws: list[Flaw]) -> list[Flaw]:
    """`flaws`: by their places."""
    streams = sorted({one.role for one in flaws})
    return [one for role in streams for one in [flaw for flaw in flaws if flaw.role == role][-NAMED:]]
