"""One process's way to the server: requests and messages take time, come late, get lost with a connection,
and wait while the process stands still. See `bus.api.Store`, which it is."""

from __future__ import annotations

import asyncio
import contextlib
import functools
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
from romana_bus.bus.clock import LogClock
from romana_bus.bus.jetstream.requests import settle
from romana_bus.bus.jetstream.store import SINGLY
from romana_bus.bus.stream_config import matches
from romana_bus.events import ROLES
from tests.simulation.log.cursors import SimLease, SimReading, SimTable
from tests.simulation.log.pipe import Pipe
from tests.simulation.log.server import HISTORY

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Sequence

    from romana_bus.bus.api import Election, Unneeded
    from tests.simulation.log.server import Server

T = TypeVar("T")

ANSWER_WITHIN = 3.0


class Client:
    """`skew`: of the process's own wall clock, seconds."""

    cluster, history, window = "default", HISTORY, 4

    def __init__(self, server: Server, chance: random.Random, skew: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        self.server, self._chance = server, chance
        self.generation = 0
        self.clock = LogClock(loop.time, lambda: int((1_767_225_600 + loop.time() + skew) * 1e6))
        self.dead, self.cut = False, False
        self.out, self.back = Pipe(self.latency), Pipe(self.latency)
        self.readings: list[SimReading] = []
        self.ears: list[tuple[str, Callable[[str, bytes], None]]] = []
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
            settle(future, Closed("it was killed") if self.dead else Unavailable("not connected"))
            return future
        self._waiting[future] = None
        future.add_done_callback(lambda future: self._waiting.pop(future, None))
        self.out.put(functools.partial(self._at_the_server, work, future))
        return future

    def _at_the_server(self, work: Callable[[], T], future: asyncio.Future[T]) -> None:
        self.server.expire()
        try:
            outcome: T | BusError = work()
        except (BusError, Rewound) as error:
            outcome = error
        if self.dead:
            return
        if self._chance.random() < self.server.losing:
            return  # the answer is lost
        self.back.put(functools.partial(settle, future, outcome))

    async def _answer(self, work: Callable[[], T]) -> T:
        future = self.ask(work)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await future
        except TimeoutError:
            raise Unavailable("no answer") from None

    # --- what is not stored ---------------------------------------------------------------------------------

    def say(self, subject: str, body: bytes) -> None:
        if not (self.cut or self.dead):
            self.out.put(functools.partial(self._said, subject, body))

    def _said(self, subject: str, body: bytes) -> None:
        for client in self.server.clients:
            for under, sink in client.ears:
                if matches(under, subject) and not client.cut:
                    client.back.put(functools.partial(sink, subject, body))

    async def hear(self, subject: str, sink: Callable[[str, bytes], None]) -> Callable[[], Awaitable[None]]:
        ear = (subject, sink)
        self.ears.append(ear)

        async def close() -> None:
            self.ears.remove(ear)

        return close

    # --- api.Store ------------------------------------------------------------------------------------------

    @property
    def age(self) -> float:
        return 0.0

    def problem(self) -> str:
        return ""

    def limit(self, role: str) -> int:
        return 0

    async def table_end(self, role: str) -> int:
        return self.end(role)

    def end(self, role: str) -> int:
        return self._last_heard.get(role, 0)

    async def probe(self) -> None:
        """Runs forever: asks for the end of each stream and the server's time (`bus/jetstream/probe.py`)."""
        while True:
            for role in ROLES:
                with contextlib.suppress(BusError):
                    await self.tail(role)
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

    async def compact(self, role: str, unneeded: Unneeded | None = None) -> None:
        del unneeded
        await self.server.compact(role)

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
