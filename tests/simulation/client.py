"""One process's way to the server: requests and messages take time, come late, get lost with a connection, and
wait while the process stands still. See `bus.api.Store`, which it is."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from romana_bus.bus.api import (
    BusError,
    Closed,
    DuplicateId,
    Message,
    Outgoing,
    Position,
    Refused,
    Rewound,
    StreamMissing,
    Tail,
    Unavailable,
    WrongSequence,
)
from romana_bus.bus.jetstream import SINGLY
from romana_bus.bus.lease import Silence
from romana_bus.bus.streams import matches
from romana_bus.clock import LogClock
from tests.simulation.loop import NEUTRAL
from tests.simulation.server import HISTORY

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from romana_bus.bus.api import Election
    from tests.simulation.server import Server

T = TypeVar("T")

ANSWER_WITHIN = 3.0


class Pipe:
    """What is on its way, in order: each thing is done when it has arrived."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._way: deque[tuple[float, Callable[[], None]]] = deque()
        self._due: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def put(self, do: Callable[[], None]) -> None:
        now = self._loop.time()
        last = self._way[-1][0] if self._way else 0.0
        self._way.append((max(last, now + self._client.latency()), do))
        self._arm()

    def drop(self) -> None:
        self._way.clear()
        if self._due:
            self._due.cancel()
            self._due = None

    def _arm(self) -> None:
        if self._due is None and self._way:
            self._due = self._loop.call_at(self._way[0][0], self._arrived, context=NEUTRAL)

    def _arrived(self) -> None:
        self._due = None
        now = self._loop.time()
        while self._way and self._way[0][0] <= now:
            self._way.popleft()[1]()
        self._arm()


class Client:
    """`skew`: of the process's own wall clock, seconds."""

    cluster, history, window = "default", HISTORY, 4

    def __init__(self, server: Server, chance: random.Random, skew: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        self.server, self._chance = server, chance
        self.generation = 0
        self.clock = LogClock(loop.time, lambda: int((1_767_225_600 + loop.time() + skew) * 1e6))
        self.dead, self.cut = False, False
        self.out, self.back = Pipe(self), Pipe(self)
        self.readings: list[SimReading] = []
        self._waiting: dict[asyncio.Future[Any], None] = {}  # in order
        self._last_heard: dict[str, int] = {}
        server.clients.append(self)

    def latency(self) -> float:
        usual = self._chance.uniform(0.0002, 0.002)
        if self.server.delay:
            return self._chance.uniform(0.0, self.server.delay)
        return usual if self._chance.random() < 0.98 else self._chance.uniform(0.01, 0.3)

    # --- what happens to it -------------------------------------------------------------------------------

    def kill(self) -> None:
        """As `kill -9`: what is on its way from it arrives, nothing else ever does."""
        self.dead = True
        self.back.drop()
        self._leave()

    def disconnect(self) -> None:
        """The connection is lost, with all that was on its way in both directions."""
        self.cut = True
        self.out.drop()
        self.back.drop()
        for future in list(self._waiting):
            if not future.done():
                future.set_exception(Unavailable("the connection was lost"))
                future.exception()
        self._waiting.clear()
        for reading in self.readings:
            reading.hang_up()

    def reconnect(self) -> None:
        if not self.dead:
            self.disconnect()
            self.cut = False
            self.generation += 1
            for reading in list(self.readings):
                self.out.put(reading.resume)

    def _leave(self) -> None:
        for reading in self.readings:
            reading.hang_up()
        if self in self.server.clients:
            self.server.clients.remove(self)

    # --- requests -------------------------------------------------------------------------------------------

    def ask(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What `work` gives at the server."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self.cut or self.dead:
            _settle(future, Closed("it was killed") if self.dead else Unavailable("not connected"))
            return future
        self._waiting[future] = None
        future.add_done_callback(lambda future: self._waiting.pop(future, None))
        self.out.put(functools.partial(self._at_the_server, work, future))
        return future

    def _at_the_server(self, work: Callable[[], T], future: asyncio.Future[T]) -> None:
        self.server.expire()
        try:
            outcome: T | Exception = work()
        except (BusError, Rewound) as error:
            outcome = error
        if self.dead:
            return
        if self._chance.random() < self.server.losing:
            return  # the answer is lost
        self.back.put(functools.partial(_settle, future, outcome))

    async def _answer(self, work: Callable[[], T]) -> T:
        future = self.ask(work)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await future
        except TimeoutError:
            raise Unavailable("no answer") from None

    # --- api.Store ------------------------------------------------------------------------------------------

    @property
    def age(self) -> float:
        return 0.0

    def problem(self) -> str:
        return ""

    def end(self, role: str) -> int:
        return self._last_heard.get(role, 0)

    async def probe(self) -> None:
        """For ever: where the streams end, and what time it is there (`bus/probe.py`)."""
        while True:
            for role in ("KUBE", "SPEC", "IPAM", "NODE"):
                try:
                    await self.tail(role)
                except BusError:
                    pass
            await asyncio.sleep(1.0)

    async def prepare(self, roles: Sequence[str]) -> None:
        self.clock.asked(await self._answer(functools.partial(_prepared, self.server, roles)))

    async def tail(self, role: str) -> Tail:
        tail, time = await self._answer(lambda: (_tail(self.server, role), self.server.time))
        self.clock.asked(time)
        self._last_heard[role] = tail.last
        return tail

    async def get(self, role: str, seq: int) -> Message | None:
        return await self._answer(lambda: self.server._stream(role).log.get(seq))

    async def next(self, role: str, after: int, under: str = ">") -> Message | None:
        def work() -> Message | None:
            log = self.server._stream(role).log
            return next((m for seq, m in log.items() if seq > after and matches(under, m.subject)), None)

        return await self._answer(work)

    async def newest(self, role: str, subject: str) -> Message | None:
        def work() -> Message | None:
            table = self.server._stream(role).table
            found = (message for name, message in table.items() if matches(subject, name))
            return table.get(subject) or max(found, key=lambda message: message.seq, default=None)

        return await self._answer(work)

    def batch(
        self, role: str, expected: int, messages: Sequence[Outgoing], election: Election | None = None
    ) -> Awaitable[int]:
        def work() -> int:
            if len(messages) > (SINGLY if election else 1):
                last = self.server._batch(role, expected, messages, election)
            else:
                last = _singly(self.server, role, expected, messages, election)
            self.server.written(role, messages, last)
            return last

        return self.ask(work)

    async def publish(self, role: str, message: Outgoing, expected: int | None = None) -> int:
        def work() -> int:
            stream = self.server._stream(role)
            if message.id and message.id in stream.ids:
                return stream.ids[message.id]
            if expected is not None and expected != stream.last_of(message.subject):
                raise WrongSequence("wrong last sequence")
            self.server._store(role, stream, message)
            return stream.last

        return await self._answer(work)

    def table(self, role: str, under: str = ">") -> SimTable:
        return SimTable(self, role, under, self._chance.choice([0, 0, 0, 1, 3, 10]))

    def follow(self, role: str, under: str, after: Position, wake: asyncio.Event, name: str) -> SimReading:
        del name
        reading = SimReading(self, role, under, after, wake)
        self.readings.append(reading)
        self.out.put(reading.resume)
        return reading

    def lease(self, name: str, holder: str, ttl: float = 2.0) -> SimLease:
        return SimLease(self, name, holder, ttl)

    async def close(self) -> None:
        self._leave()


def _settle(future: asyncio.Future[T], outcome: T | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
        future.exception()
    else:
        future.set_result(outcome)


def _prepared(server: Server, roles: Sequence[str]) -> int:
    for role in roles:
        server.make(role)
    return server.time


def _tail(server: Server, role: str) -> Tail:
    stream = server._stream(role)
    return Tail(stream.epoch, stream.first, stream.last)


def _singly(
    server: Server, role: str, expected: int, messages: Sequence[Outgoing], election: Election | None
) -> int:
    """Each under its own fence: behind one that was refused, the next may fit again."""
    failure: Exception | None = None
    for place, message in enumerate(messages, expected + 1):
        try:
            if message.id in server._stream(role).ids:
                raise DuplicateId("stored already")
            server._batch(role, place - 1, [message], election)
        except (WrongSequence, DuplicateId, StreamMissing, Refused) as error:
            failure = failure or error
    if failure:
        raise failure
    return expected + len(messages)


class SimTable:
    """One pass over a table that is some messages behind its log."""

    def __init__(self, client: Client, role: str, under: str, behind: int) -> None:
        self._client, self._role, self._under, self._behind = client, role, under, behind
        self.reached = Position("", 0, "")

    async def __aiter__(self) -> AsyncIterator[list[Message]]:
        def work() -> tuple[list[Message], str, int]:
            stream = self._client.server._stream(self._role)
            return self._client.server.table_at(self._role, self._behind), stream.epoch, stream.first

        messages, epoch, first = await self._client._answer(work)
        messages = [message for message in messages if matches(self._under, message.subject)]
        last = messages[-1] if messages else Message(0, "", b"")
        floor = Position(epoch, first - 1, "")
        self.reached = max(Position(epoch, last.seq, last.id), floor, key=lambda p: p.seq)
        if messages:
            yield messages


class SimReading:
    """A cursor: what is stored arrives some time later, in order; on a new connection it looks whether the
    stream is still the one that was read."""

    def __init__(self, client: Client, role: str, under: str, after: Position, wake: asyncio.Event) -> None:
        self.position = after
        self._client, self._role, self._under, self._wake = client, role, under, wake
        self._ready: list[Message] = []
        self._last, self._last_id = after.seq, after.id
        self._failure: Rewound | None = None
        self._listening = False

    @property
    def lag(self) -> int:
        return len(self._ready)

    def resume(self) -> None:
        """At the server."""
        server = self._client.server
        self.check()
        if self._failure is None and not self._client.dead:
            if not self._listening:
                self._listening = True
                server._readers.append(self)  # type: ignore[arg-type]
            for message in list(server._stream(self._role).log.values()):
                if message.seq > self._last:
                    self.offer(self._role, message)

    def hang_up(self) -> None:
        self._client.server.leave(self)  # type: ignore[arg-type]
        self._listening = False

    def check(self) -> None:
        stream = self._client.server._streams.get(self._role)
        standing = stream.log.get(self._last) if stream else None
        if stream is None or stream.epoch != self.position.epoch or self._last > stream.last:
            self._fail(f"{self._role} is not the log that was read")
        elif standing is not None and self._last_id and standing.id != self._last_id:
            self._fail(f"{self._role} holds another message at {self._last}")
        elif self._last + 1 < stream.first and stream.log:
            self._fail(f"{self._role} starts at {stream.first} now")

    def _fail(self, why: str) -> None:
        self._failure = Rewound(why)
        self._client.back.put(self._wake.set)

    def offer(self, role: str, message: Message) -> None:
        if role == self._role and matches(self._under, message.subject) and not self._client.cut:
            self._client.back.put(functools.partial(self._arrived, message))

    def _arrived(self, message: Message) -> None:
        if message.seq > self._last:
            self._last, self._last_id = message.seq, message.id
            self._ready.append(message)
            self._wake.set()

    def take(self) -> list[Message]:
        ready, self._ready = self._ready, []
        if ready:
            self.position = Position(self.position.epoch, ready[-1].seq, ready[-1].id)
            if self._failure:
                self._wake.set()
        elif self._failure:
            raise self._failure
        return ready

    async def close(self) -> None:
        self.hang_up()
        if self in self._client.readings:
            self._client.readings.remove(self)


class SimLease:
    def __init__(self, client: Client, name: str, holder: str, ttl: float) -> None:
        self._client, self._name, self._holder, self._ttl = client, name, holder, ttl
        self._silence = Silence(ttl)

    async def acquire(self) -> bool:
        holder, revision = await self._client._answer(lambda: self._client.server.lease_of(self._name))
        if holder not in ("", self._holder) and not self._silence.over(revision):
            return False
        return await self._write(revision)

    async def renew(self) -> bool:
        holder, revision = await self._client._answer(lambda: self._client.server.lease_of(self._name))
        return holder == self._holder and await self._write(revision)

    async def release(self) -> None:
        await self._client._answer(lambda: self._client.server.end_lease(self._name, self._holder))

    async def _write(self, revision: int) -> bool:
        work = functools.partial(
            self._client.server.take_lease, self._name, self._holder, self._ttl, revision
        )
        return await self._client._answer(work)
