"""The messages that a consumer reads: the tables of its streams, then their logs from there on.

Messages of one stream come in order, each once: the sequence guard is here, and drops every message at or
below the last sequence. Between streams there is no order, and no consumer needs one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from romana_bus import metrics, tasks
from romana_bus.bus.api import ONCE, Message, Outgoing, Position
from romana_bus.bus.writing.write import by_leader
from romana_bus.events import STREAM, codec

if TYPE_CHECKING:
    import re
    from collections.abc import AsyncIterator, Mapping, Sequence

    from romana_bus.bus.api import Reading, Store
    from romana_bus.events import Event
    from romana_bus.runtime.parked import ParkedMessages

#: Parked messages whose predecessors are looked for at the same time.
CONCURRENT = 50


class Read(NamedTuple):
    """One stream that a consumer reads: all of it, or the subjects that the filter `under` selects. Of these
    it uses those that begin with one of `only`, or that `matching` matches, where that is given. The server
    does not select them: with two filters it reads a hundred times slower (nats-server #4888)."""

    role: str
    under: str = ">"
    only: tuple[str, ...] = ()
    matching: re.Pattern[str] | None = None

    def used(self, messages: list[Message]) -> list[Message]:
        if self.only:
            return [m for m in messages if m.subject.startswith(self.only)]
        if self.matching:
            return [m for m in messages if self.matching.match(m.subject)]
        return messages


class Feed:
    """Reads `reads` for the consumer `name`. `parked`: the messages that the consumer could not use.

    `own`: the stream that this consumer writes. Its leaders' timestamps count for the log's clock, so
    that time does not go back when the server's clock does. `once`: reads to the end only."""

    def __init__(
        self,
        store: Store,
        reads: Sequence[Read],
        name: str,
        parked: ParkedMessages,
        own: str = "",
        once: bool = False,
    ) -> None:
        self._own, self._parked, self._prefix = own, parked, ONCE if once else ""
        self.positions: dict[str, Position] = {}
        self.name = name
        self._store, self._reads = store, {read.role: read for read in reads}
        self._wake = asyncio.Event()
        self._readings: dict[str, Reading] = {}

    async def boot(self) -> AsyncIterator[tuple[str, list[Message]]]:
        """Yields (role, messages) of everything that is on the log now, and starts to follow the logs.

        First the tables, in the order of the reads. For each parked message there, the last usable message
        of its subject. Then what the logs have behind their tables, which may be a moment late.
        Raises Rewound, StreamMissing, Unavailable."""
        started = tasks.monotonic()
        for role, read in self._reads.items():
            table = self._store.table(role, read.under)
            async for messages in table:
                self._heard(role, messages[-1])
                if used := read.used(messages):
                    yield role, used
            if earlier := await self._usable_before_parked(role):
                yield role, earlier
            self.positions[role] = table.reached
        reached = {role: position.seq for role, position in self.positions.items()}
        for role, read in self._reads.items():
            self._readings[role] = self._store.follow(
                role, read.under, self.positions[role], self._wake, self._prefix + self.name
            )
        for read in self._reads.values():
            end = (await self._store.tail(read.role)).last
            while await self._missing(read, end):
                await self.wait(0.2)
                for batch in self.take():
                    yield batch
        # Junk that came meanwhile may have replaced a message in the table before the table was read.
        for role, seq in reached.items():
            if earlier := await self._usable_before_parked(role, seq):
                yield role, earlier
        metrics.BOOT_SECONDS.labels(self.name).set(tasks.monotonic() - started)

    async def lost(self, before: Mapping[str, Position]) -> list[str]:
        """The streams that no longer hold what was read up to `before`. Raises StreamMissing, Unavailable."""
        roles = []
        for role, position in sorted(before.items()):
            tail = await self._store.tail(role)
            stored = await self._store.get(role, position.seq) if position.id else None
            other = stored is not None and stored.id != position.id
            if tail.epoch != position.epoch or tail.last < position.seq or other:
                roles.append(role)
        return roles

    async def _usable_before_parked(self, role: str, after: int = 0) -> list[Message]:
        """For each parked message behind `after`: the last usable one of its subject. In log order."""
        parked = [entry for entry in self._parked.kept if entry.role == role and entry.seq > after]
        usable: list[Message | None] = []
        for start in range(0, len(parked), CONCURRENT):
            some = parked[start : start + CONCURRENT]
            usable += await asyncio.gather(
                *(self._parked.usable_before(self._store, entry) for entry in some)
            )
        return sorted((message for message in usable if message), key=lambda message: message.seq)

    async def _missing(self, read: Read, end: int) -> bool:
        """Whether a message up to `end` has still to be read."""
        seq = self.positions[read.role].seq
        if seq >= end:
            return False
        following = await self._store.next(read.role, seq, read.under)
        return following is not None and following.seq <= end

    def _heard(self, role: str, newest: Message) -> None:
        counts = role == self._own and by_leader(newest, role)
        self._store.clock.heard(newest.stored, newest.time if counts else 0)

    def take(self) -> list[tuple[str, list[Message]]]:
        """(role, messages) that have arrived since the last call; never waits. Raises Rewound, Closed."""
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
                if used := self._reads[role].used(messages):
                    taken.append((role, used))
            metrics.LAG.labels(self.name, role).set(reading.lag)
        return taken

    @property
    def lag(self) -> int:
        return sum(reading.lag for reading in self._readings.values())

    async def wait(self, seconds: float | None) -> None:
        """Returns when there may be something to take, or after `seconds`."""
        await tasks.until_set(self._wake, seconds)
        self._wake.clear()

    def interrupt(self) -> None:
        """End a `wait` now."""
        self._wake.set()

    async def drop(self, role: str) -> None:
        """Stop following a stream (a leader is the only source of its own stream)."""
        if reading := self._readings.pop(role, None):
            metrics.LAG.labels(self.name, role).set(0)  # a stream that is not read has no lag
            await reading.close()

    async def close(self) -> None:
        for role in list(self._readings):
            await self.drop(role)


async def read_once(
    store: Store, reads: Sequence[Read], name: str, parked: ParkedMessages
) -> AsyncIterator[tuple[str, list[Message]]]:
    """Yields (role, messages) of everything that was on the log when this began. `parked`: what the caller
    reads the messages with. Raises BusError."""
    feed = Feed(store, reads, name, parked, once=True)
    try:
        async for batch in feed.boot():
            yield batch
    finally:
        await feed.close()


#: The longest time to live that a message is given: ten years, in seconds.
LONGEST = 10 * 366 * 86_400


def outgoing(event: Event, cause: str, now: int, history: float, body: bytes = b"") -> Outgoing:
    """The message that stores an event. A tombstone leaves the table after the time that its stream gives it,
    or when the event is no longer needed, if that is later. `now`: µs. `history`: seconds of the log's
    window. `body`: the event's, where it is known."""
    ttl = 0
    if event.tombstone:
        stays = STREAM[event.role].tombstones or int(history)
        ttl = min(max(1, stays, (event.needed_until() - now) // 1_000_000 + 1), LONGEST)
    return Outgoing(event.subject(), body or codec.encode(event), "", cause, now, ttl)
