"""The in-memory twin of the store: the same contract without a server, for tests and simulations.

The clock of its server stands still until `advance` moves it, so that leases and tombstones expire when a
test wants it. `empty` and `rewind` do what a lost disk and an old backup do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from romana_bus.bus.api import (
    DuplicateId,
    Election,
    Message,
    Outgoing,
    Position,
    Refused,
    Rewound,
    StreamMissing,
    Tail,
    WrongSequence,
    stamp,
)
from romana_bus.bus.clock import LogClock
from romana_bus.bus.stream_config import DAY, matches
from romana_bus.events.base import SECOND

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from romana_bus.bus.api import Unneeded

#: Seconds for which an id is known (`streams.log_config`, duplicate_window).
WINDOW = 120.0
#: The server's time when `now` is 0: 2026-01-01, µs since the epoch.
BEGINNING = 1_767_225_600 * SECOND


class _Stream:
    """One log with its table."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.log: dict[int, Message] = {}
        self.table: dict[str, Message] = {}
        self.newest: dict[str, Message] = {}  # of each subject that log or table has
        self.ids: dict[str, int] = {}
        self.id_times: deque[tuple[float, str]] = deque()
        self.expires: list[tuple[float, int, str]] = []  # a heap; the table's subject, '' for the log
        self.last = 0

    @property
    def first(self) -> int:
        return next(iter(self.log), self.last + 1)

    def append(self, message: Message, now: float = 0.0) -> None:
        self.last = message.seq
        self.log[message.seq] = self.table[message.subject] = self.newest[message.subject] = message
        if message.id:
            self.ids[message.id] = message.seq
            self.id_times.append((now, message.id))
        while self.id_times and self.id_times[0][0] < now - WINDOW:
            self.ids.pop(self.id_times.popleft()[1], None)

    def last_of(self, subject: str) -> int:
        newest = self.newest.get(subject)
        return newest.seq if newest and newest.seq in self.log else 0

    def drop(self, seq: int) -> None:
        """The log loses a message."""
        message = self.log.pop(seq, None)
        if message and message.subject not in self.table and self.newest[message.subject] is message:
            del self.newest[message.subject]

    def discard(self, seq: int, subject: str) -> Message | None:
        """The table loses a message, which is returned, if it has it."""
        message = self.table.get(subject)
        if message is None or message.seq != seq:
            return None
        del self.table[subject]
        if seq not in self.log:
            del self.newest[subject]
        return message


class MemoryStore:
    """See `api.Store`. `now`: the time in seconds since the store was created."""

    def __init__(self, cluster: str = "default", history: float = 7 * DAY) -> None:
        self.cluster, self.history, self.now = cluster, history, 0.0
        self._streams: dict[str, _Stream] = {}
        self._readers: list[MemoryReading] = []
        self._leases: dict[str, tuple[str, float]] = {}
        self._ears: list[tuple[str, Callable[[str, bytes], None]]] = []
        self._epochs = self.generation = 0
        self.limits: dict[str, int] = {}  # role -> bytes, which only `limit` tells
        self.window = 4
        self.clock = LogClock(wall=lambda: self.time)
        self.clock.asked(self.time)

    @property
    def time(self) -> int:
        """The server's clock, µs since the epoch."""
        return BEGINNING + int(self.now * SECOND)

    @property
    def age(self) -> float:
        return 0.0

    def problem(self) -> str:
        return ""

    def end(self, role: str) -> int:
        stream = self._streams.get(role)
        return stream.last if stream else 0

    def limit(self, role: str) -> int:
        return self.limits.get(role, 0)

    async def table_end(self, role: str) -> int:
        return self._stream(role).last

    def say(self, subject: str, body: bytes) -> None:
        for under, sink in list(self._ears):
            if matches(under, subject):
                asyncio.get_running_loop().call_soon(sink, subject, body)

    async def hear(self, subject: str, sink: Callable[[str, bytes], None]) -> Callable[[], Awaitable[None]]:
        ear = (subject, sink)
        self._ears.append(ear)

        async def close() -> None:
            if ear in self._ears:
                self._ears.remove(ear)

        return close

    async def prepare(self, roles: Sequence[str]) -> None:
        for role in roles:
            if role not in self._streams:
                self._epochs += 1
                self._streams[role] = _Stream(f"epoch-{self._epochs}")

    async def close(self) -> None:
        self._readers.clear()

    # --- faults and time ----------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Move the clock forward: tombstones leave the table after their time to live, and the log after its
        window."""
        self.now += seconds
        self.clock.asked(self.time)
        for role, stream in self._streams.items():
            while stream.expires and stream.expires[0][0] <= self.now:
                _, seq, subject = heappop(stream.expires)
                if not subject:
                    stream.drop(seq)
                elif expired := stream.discard(seq, subject):
                    self.expired(role, expired)

    def expired(self, role: str, message: Message) -> None:
        """A tombstone has left the table. For who extends the twin."""

    def forget(self, role: str, before: int) -> None:
        """Drop old messages from the log, as its window does; the table keeps them."""
        stream = self._stream(role)
        for seq in [seq for seq in stream.log if seq < before]:
            stream.drop(seq)

    def empty(self, role: str) -> None:
        """Lose the disk: the stream does not exist until `prepare` creates it again."""
        del self._streams[role]
        self._reconnect()

    def rewind(self, role: str, to: int) -> None:
        """Restore a backup: no message behind sequence `to` exists."""
        old = self._stream(role)
        self._streams[role] = _Stream(old.epoch)
        for message in list(old.log.values()):
            if message.seq <= to:
                self._streams[role].append(message)
        self._reconnect()

    def _reconnect(self) -> None:
        self.generation += 1
        for reader in self._readers:
            reader.check()

    # --- api.Store -----------------------------------------------------------------------------------

    def _stream(self, role: str) -> _Stream:
        if role not in self._streams:
            raise StreamMissing(f"no stream for {role}")
        return self._streams[role]

    async def tail(self, role: str) -> Tail:
        stream = self._stream(role)
        return Tail(stream.epoch, stream.first, stream.last)

    async def get(self, role: str, seq: int) -> Message | None:
        return self._stream(role).log.get(seq)

    async def next(self, role: str, after: int, under: str = ">") -> Message | None:
        log = self._stream(role).log
        return next((m for seq, m in log.items() if seq > after and matches(under, m.subject)), None)

    async def newest(self, role: str, subject: str) -> Message | None:
        newest = self._stream(role).newest
        matching = (message for name, message in newest.items() if matches(subject, name))
        return newest.get(subject) or max(matching, key=lambda message: message.seq, default=None)

    def batch(
        self, role: str, expected: int, messages: Sequence[Outgoing], election: Election | None = None
    ) -> asyncio.Future[int]:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            answer.set_result(self._batch(role, expected, messages, election))
        except (StreamMissing, WrongSequence, DuplicateId, Refused) as error:
            answer.set_exception(error)
            answer.exception()
        return answer

    def _batch(
        self, role: str, expected: int, messages: Sequence[Outgoing], election: Election | None
    ) -> int:
        stream = self._stream(role)
        ids = [message.id for message in messages if message.id]
        if len(messages) > 1000:
            raise Refused("atomic publish batch is too large: 1000")
        if len(set(ids)) < len(ids) or any(message_id in stream.ids for message_id in ids):
            raise DuplicateId("atomic publish batch contains duplicate message id")
        if expected != stream.last:
            raise WrongSequence(f"wrong last sequence: {stream.last}")
        if election and stream.last_of(election.subject) != election.seq:
            raise WrongSequence(f"wrong last sequence: {stream.last_of(election.subject)}")
        for message in messages:
            self._store(role, stream, message)
        return stream.last

    async def publish(self, role: str, message: Outgoing, expected: int | None = None) -> int:
        stream = self._stream(role)
        if message.id and message.id in stream.ids:
            return stream.ids[message.id]
        if expected is not None and expected < stream.first:
            newest = stream.newest.get(message.subject)
            if expected and newest and newest.seq != expected:
                raise WrongSequence(f"wrong last sequence: {newest.seq}")
            expected = 0
        if expected is not None and expected != stream.last_of(message.subject):
            raise WrongSequence(f"wrong last sequence: {stream.last_of(message.subject)}")
        self._store(role, stream, message)
        return stream.last

    def _store(self, role: str, stream: _Stream, message: Outgoing) -> None:
        lines = [f"Romana-Time: {stamp(message.time)}"]
        lines += [f"Nats-Msg-Id: {message.id}"] if message.id else []
        lines += [f"Romana-Cause: {message.cause}"] if message.cause else []
        lines += [f"Romana-Follows: {message.follows}"] if message.follows >= 0 else []
        headers = ("NATS/1.0\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode()
        stored = Message(stream.last + 1, message.subject, message.body, headers, stored=self.time)
        stream.append(stored, self.now)
        if message.ttl:
            heappush(stream.expires, (self.now + message.ttl, stored.seq, stored.subject))
            heappush(stream.expires, (self.now + max(message.ttl, self.history), stored.seq, ""))
        for reader in self._readers:
            reader.offer(role, stored)

    def table(self, role: str, under: str = ">") -> MemoryTable:
        return MemoryTable(self._stream(role), under)

    def follow(self, role: str, under: str, after: Position, wake: asyncio.Event, name: str) -> MemoryReading:
        del name
        reading = MemoryReading(self, role, under, after, wake)
        self._readers.append(reading)
        return reading

    def leave(self, reading: MemoryReading) -> None:
        if reading in self._readers:
            self._readers.remove(reading)

    async def compact(self, role: str, unneeded: Unneeded | None = None) -> None:
        """`advance` does it."""

    def lease(self, name: str, holder: str, ttl: float = 2.0) -> MemoryLease:
        return MemoryLease(self, self._leases, name, holder, ttl)


class MemoryTable:
    """See `api.Table`: the newest message of each subject that `under` selects, in one batch, as of the call.
    `reached` is valid from the beginning."""

    def __init__(self, stream: _Stream, under: str) -> None:
        self._messages = sorted(stream.table.values(), key=lambda message: message.seq)
        self._messages = [message for message in self._messages if matches(under, message.subject)]
        last = self._messages[-1] if self._messages else Message(0, "", b"")
        floor = Position(stream.epoch, stream.first - 1, "")
        self.reached = max(Position(stream.epoch, last.seq, last.id), floor, key=lambda p: p.seq)

    async def __aiter__(self) -> AsyncIterator[list[Message]]:
        if self._messages:
            yield self._messages


class MemoryReading:
    """See `api.Reading`: the messages of the stream `role` after the position `after` whose subjects `under`
    selects. `wake`: set when `take` has something to return or to raise."""

    def __init__(
        self, store: MemoryStore, role: str, under: str, after: Position, wake: asyncio.Event
    ) -> None:
        self.position = after
        self._store, self._role, self._under, self._wake = store, role, under, wake
        self._failure: Rewound | None = None
        self._ready: list[Message] = []
        self.check()
        if self._failure is None:
            for message in list(store._stream(role).log.values()):
                if message.seq > after.seq:
                    self.offer(role, message)

    @property
    def lag(self) -> int:
        return len(self._ready)

    def offer(self, role: str, message: Message) -> None:
        """Queue a message that was just stored, if this reading selects it."""
        if role == self._role and matches(self._under, message.subject):
            self._ready.append(message)
            self._wake.set()

    def check(self) -> None:
        """Check that the stream is still the one that was read, as `Pull` does on a new connection."""
        stream = self._store._streams.get(self._role)
        seq = self._ready[-1].seq if self._ready else self.position.seq
        if stream is None or stream.epoch != self.position.epoch or seq > stream.last:
            self._failure = Rewound(f"{self._role} is not the log that was read")
        elif self.position.seq + 1 < stream.first:
            self._failure = Rewound(f"{self._role} starts at {stream.first} now")
        if self._failure:
            self._wake.set()

    def take(self) -> list[Message]:
        ready, self._ready = self._ready, []
        if ready:
            self.position = Position(self.position.epoch, ready[-1].seq, ready[-1].id)
            if self._failure:
                self._wake.set()  # the next call raises it
        elif self._failure:
            raise self._failure
        return ready

    async def close(self) -> None:
        self._store.leave(self)


class MemoryLease:
    """See `api.Lease`. `leases`: name -> (holder, expiry), shared by all leases of the store. `ttl`: seconds
    on the store's clock after which an unrenewed lease expires."""

    def __init__(
        self, store: MemoryStore, leases: dict[str, tuple[str, float]], name: str, holder: str, ttl: float
    ) -> None:
        self._store, self._leases, self._name, self._holder, self._ttl = store, leases, name, holder, ttl

    def _mine(self) -> bool:
        holder, until = self._leases.get(self._name, ("", 0.0))
        return holder == self._holder and until > self._store.now

    async def acquire(self) -> bool:
        _, until = self._leases.get(self._name, ("", 0.0))
        if until > self._store.now and not self._mine():
            return False
        self._leases[self._name] = (self._holder, self._store.now + self._ttl)
        return True

    async def renew(self) -> bool:
        return self._mine() and await self.acquire()

    async def release(self) -> None:
        if self._mine():
            del self._leases[self._name]
