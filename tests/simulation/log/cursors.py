"""What a process reads through: the tables, the logs, and the leases; each is asked at the server, some time
later. See `bus.api`: Table, Reading, Lease."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from romana_bus.bus.api import Message, Position, Rewound
from romana_bus.bus.jetstream.lease import LeaseExpiry
from romana_bus.bus.stream_config import matches

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from tests.simulation.log.client import Client


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
        self._expiry = LeaseExpiry(ttl)

    async def acquire(self) -> bool:
        holder, revision = await self._client._answer(lambda: self._client.server.lease_of(self._name))
        if holder not in ("", self._holder) and not self._expiry.expired(revision):
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
