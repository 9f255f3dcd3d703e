"""What a consumer is fed: the tables of all that it reads, then their logs from there on.

Messages of one stream come in order, each once (here is the sequence guard: nothing at or below the last
one passes); between streams there is no order, and no consumer needs one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from romana_bus import codec, tasks, telemetry
from romana_bus.bus.api import Message, Outgoing, Position

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from romana_bus.bus.api import Reading, Store
    from romana_bus.events import Event


class Read(NamedTuple):
    """One stream that a consumer reads: all of it, or what one wildcard selects."""

    role: str
    under: str = ">"


class Feed:
    """`own`: the stream that this consumer's role writes. What its leaders said of the time counts, so that
    time does not go back where the server's clock has."""

    def __init__(self, store: Store, reads: Sequence[Read], name: str, own: str = "") -> None:
        self._own = own
        self.positions: dict[str, Position] = {}
        self.name = name
        self._store, self._reads = store, reads
        self._wake = asyncio.Event()
        self._readings: dict[str, Reading] = {}

    async def boot(self) -> AsyncIterator[tuple[str, list[Message]]]:
        """The tables, in the order of the reads; afterwards the logs are followed.
        Raises Rewound, StreamMissing, Unavailable."""
        started = tasks.monotonic()
        for role, under in self._reads:
            table = self._store.table(role, under)
            async for messages in table:
                self._heard(role, messages[-1])
                yield role, messages
            self.positions[role] = table.reached
        for role, under in self._reads:
            self._readings[role] = self._store.follow(
                role, under, self.positions[role], self._wake, self.name
            )
        telemetry.BOOT_SECONDS.labels(self.name).set(tasks.monotonic() - started)

    def _heard(self, role: str, newest: Message) -> None:
        self._store.clock.heard(newest.stored, newest.time if role == self._own else 0)

    def take(self) -> list[tuple[str, list[Message]]]:
        """What has come since; never waits. Raises Rewound, Closed."""
        taken = []
        for role, reading in self._readings.items():
            messages = reading.take()
            if not messages:
                continue
            last = self.positions[role].seq
            if messages[0].seq <= last:
                messages = [message for message in messages if message.seq > last]
            if messages:
                newest = messages[-1]
                self._heard(role, newest)
                self.positions[role] = Position(self.positions[role].epoch, newest.seq, newest.id)
                taken.append((role, messages))
            telemetry.LAG.labels(self.name, role).set(reading.lag)
        return taken

    @property
    def lag(self) -> int:
        return sum(reading.lag for reading in self._readings.values())

    async def wait(self, seconds: float | None) -> None:
        """Until there may be something to take, but not longer than that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    def nudge(self) -> None:
        """End a `wait` now."""
        self._wake.set()

    async def drop(self, role: str) -> None:
        """Follow this one no longer (a leader is the only source of its own stream)."""
        if reading := self._readings.pop(role, None):
            telemetry.LAG.labels(self.name, role).set(0)  # nobody is behind what nobody reads
            await reading.close()

    async def close(self) -> None:
        for role in list(self._readings):
            await self.drop(role)


async def read_once(
    store: Store, reads: Sequence[Read], name: str
) -> AsyncIterator[tuple[str, list[Message]]]:
    """All that was on the log when this began: the tables, and behind them the logs, since a table may be a
    moment behind its own. Raises BusError."""
    ends = {read: (await store.tail(read.role)).last for read in reads}
    feed = Feed(store, reads, name)
    try:
        async for one in feed.boot():
            yield one
        for read, end in ends.items():
            while await _missing(store, feed, read, end):
                await feed.wait(0.2)
                for one in feed.take():
                    yield one
    finally:
        await feed.close()


async def _missing(store: Store, feed: Feed, read: Read, end: int) -> bool:
    """Whether something up to `end` has still to be read."""
    at = feed.positions[read.role].seq
    if at >= end:
        return False
    following = await store.next(read.role, at, read.under)
    return following is not None and following.seq <= end


#: The longest time to live that a message is given: ten years, in seconds.
LONGEST = 10 * 366 * 86_400


def outgoing(event: Event, cause: str, now: int, history: float) -> Outgoing:
    """The message that stores an event. A tombstone leaves the table when the log's window has passed."""
    ttl = max(1, int(history), (event.needed_until() - now) // 1_000_000 + 1) if event.tombstone else 0
    return Outgoing(event.subject(), codec.encode(event), "", cause, now, min(ttl, LONGEST))
