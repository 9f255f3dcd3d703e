"""What a consumer is fed: the tables of all that it reads, then their logs from there on.

Messages of one stream come in order, each once (here is the sequence guard: nothing at or below the last
one passes); between streams there is no order, and no consumer needs one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from romana_bus import metrics, tasks
from romana_bus.bus.api import Message, Outgoing, Position
from romana_bus.bus.write import by_leader
from romana_bus.events import codec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from romana_bus.bus.api import Reading, Store
    from romana_bus.events import Event
    from romana_bus.runtime.parked import Flaws


#: Questions about what cannot be used that are asked at once.
ASKED = 50


class Read(NamedTuple):
    """One stream that a consumer reads: all of it, or what one wildcard selects."""

    role: str
    under: str = ">"


class Feed:
    """`own`: the stream that this consumer's role writes. What its leaders said of the time counts, so that
    time does not go back where the server's clock has. `flaws`: what of the messages its reader could not
    use."""

    def __init__(self, store: Store, reads: Sequence[Read], name: str, flaws: Flaws, own: str = "") -> None:
        self._own, self._flaws = own, flaws
        self.positions: dict[str, Position] = {}
        self.name = name
        self._store, self._reads = store, reads
        self._wake = asyncio.Event()
        self._readings: dict[str, Reading] = {}

    async def boot(self) -> AsyncIterator[tuple[str, list[Message]]]:
        """All that is on the log now: the tables, in the order of the reads; of what stands there and cannot
        be used, the word before it; and what the logs have behind their tables, which may be a moment late.
        Afterwards the logs are followed. Raises Rewound, StreamMissing, Unavailable."""
        started = tasks.monotonic()
        for role, under in self._reads:
            table = self._store.table(role, under)
            async for messages in table:
                self._heard(role, messages[-1])
                yield role, messages
            if earlier := await self._words_before(role):
                yield role, earlier
            self.positions[role] = table.reached
        reached = {role: position.seq for role, position in self.positions.items()}
        for role, under in self._reads:
            self._readings[role] = self._store.follow(
                role, under, self.positions[role], self._wake, self.name
            )
        for read in self._reads:
            end = (await self._store.tail(read.role)).last
            while await self._missing(read, end):
                await self.wait(0.2)
                for one in self.take():
                    yield one
        # What was junk on the log by now may have taken the place of a word that the table had not given yet.
        for role, seq in reached.items():
            if earlier := await self._words_before(role, seq):
                yield role, earlier
        metrics.BOOT_SECONDS.labels(self.name).set(tasks.monotonic() - started)

    async def lost(self, before: Mapping[str, Position]) -> list[str]:
        """The streams of which somebody had read up to `before`, and which are not as they were then.
        Raises StreamMissing, Unavailable."""
        roles = []
        for role, position in sorted(before.items()):
            tail = await self._store.tail(role)
            standing = await self._store.get(role, position.seq) if position.id else None
            other = standing is not None and standing.id != position.id
            if tail.epoch != position.epoch or tail.last < position.seq or other:
                roles.append(role)
        return roles

    async def _words_before(self, role: str, after: int = 0) -> list[Message]:
        """Of what cannot be used behind `after`; in the order of the log."""
        kept = [one for one in self._flaws.kept if one.role == role and one.seq > after]
        found: list[Message | None] = []
        for at in range(0, len(kept), ASKED):
            words = (self._flaws.word_before(self._store, one) for one in kept[at : at + ASKED])
            found += await asyncio.gather(*words)
        return sorted((one for one in found if one is not None), key=lambda message: message.seq)

    async def _missing(self, read: Read, end: int) -> bool:
        """Whether something up to `end` has still to be read."""
        at = self.positions[read.role].seq
        if at >= end:
            return False
        following = await self._store.next(read.role, at, read.under)
        return following is not None and following.seq <= end

    def _heard(self, role: str, newest: Message) -> None:
        counts = role == self._own and by_leader(newest, role)
        self._store.clock.heard(newest.stored, newest.time if counts else 0)

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
            metrics.LAG.labels(self.name, role).set(reading.lag)
        return taken

    @property
    def lag(self) -> int:
        return sum(reading.lag for reading in self._readings.values())

    async def wait(self, seconds: float | None) -> None:
        """Until there may be something to take, but not longer than that."""
        await tasks.until_set(self._wake, seconds)
        self._wake.clear()

    def nudge(self) -> None:
        """End a `wait` now."""
        self._wake.set()

    async def drop(self, role: str) -> None:
        """Follow this one no longer (a leader is the only source of its own stream)."""
        if reading := self._readings.pop(role, None):
            metrics.LAG.labels(self.name, role).set(0)  # nobody is behind what nobody reads
            await reading.close()

    async def close(self) -> None:
        for role in list(self._readings):
            await self.drop(role)


async def read_once(
    store: Store, reads: Sequence[Read], name: str, flaws: Flaws
) -> AsyncIterator[tuple[str, list[Message]]]:
    """All that was on the log when this began. `flaws`: by which the messages are read. Raises BusError."""
    feed = Feed(store, reads, name, flaws)
    try:
        async for one in feed.boot():
            yield one
    finally:
        await feed.close()


#: The longest time to live that a message is given: ten years, in seconds.
LONGEST = 10 * 366 * 86_400


def outgoing(event: Event, cause: str, now: int, history: float) -> Outgoing:
    """The message that stores an event. A tombstone leaves the table when the log's window has passed."""
    ttl = max(1, int(history), (event.needed_until() - now) // 1_000_000 + 1) if event.tombstone else 0
    return Outgoing(event.subject(), codec.encode(event), "", cause, now, min(ttl, LONGEST))
