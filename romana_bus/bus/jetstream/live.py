"""Follows a part of a stream by its republished messages, for processes of which there are thousands.

It costs the server no consumer. What may be lost is found out (`bus/parts.py`) and read from the log: after a
new connection, a message that does not follow the last one, a heartbeat that names a later one, and now and
then where no heartbeat says whether there is one. A repair requests the next message until there is none, and
needs a consumer only if there are many.
"""

from __future__ import annotations

import asyncio
import random
import re
from typing import TYPE_CHECKING

import msgspec
import structlog

from romana_bus import metrics, tasks
from romana_bus.bus.api import (
    Closed,
    Message,
    Position,
    Refused,
    Rewound,
    StreamMissing,
    Unavailable,
    micros,
)
from romana_bus.bus.jetstream.pull import Cursor, Pull
from romana_bus.bus.parts import ALIVE, FOLLOWS, LIVE, Heartbeat, followed_by, shared

if TYPE_CHECKING:
    from romana_bus.bus.jetstream.messages import Streams

log = structlog.get_logger(__name__)

#: Seconds between two looks at what heartbeats say; and between two requests for messages that no heartbeat
#: names, drawn at random between one and two times that, since thousands ask.
LOOK, VERIFY = 1.0, 20.0
#: Messages that a repair requests one by one, before it needs a consumer.
SINGLY = 50
#: Messages that are kept for a reader that takes none: then the rest is left to the log.
KEPT = 20_000
#: Seconds of backoff after a failed repair, at first and at most; drawn at random up to that.
BACKOFF, MAX_BACKOFF = 0.1, 5.0
#: What the server adds to a message that it publishes again, behind stream and subject.
_STAMPED = re.compile(rb"Nats-Sequence: (\d+)\r\nNats-Time-Stamp: ([^\r]+)\r\n")


class Live(Cursor):
    """See `api.Reading`. `role`, `under`: a whole stream or one of its parts."""

    def __init__(
        self, store: Streams, role: str, under: str, name: str, after: Position, wake: asyncio.Event
    ) -> None:
        super().__init__(store.layout.stream(role), after, wake)
        self._store, self._role, self._name = store, role, name
        self._filter = store.subject(role, under)
        self._under, self._by = under, self._stream.encode()
        self._part = followed_by(role, under) or ""
        self._held: list[Message] | None = []  # what came during a repair; None while there is none
        self._suspect = asyncio.Event()
        self._named = 0  # the newest sequence that a heartbeat of the part named
        self._confirmed = 0  # the stream has nothing for this reader between `_last` and here
        self._verify_at = 0.0
        self._doubt = True  # it may be another log than the one that was read
        self._beat: Heartbeat | None = None
        self._sids: list[bytes] = []

    @property
    def lag(self) -> int:
        return len(self._ready) + (len(self._held) if self._held else 0)

    async def _leave(self) -> None:
        for sid in self._sids:
            await self._store.wire.unlisten(sid)
        self._sids = []

    # --- what arrives -----------------------------------------------------------------------------------

    def _sink(self, subject: bytes, reply: bytes, headers: bytes, body: bytes) -> None:
        prefix = self._store.prefix_size
        name = subject[prefix + len(LIVE) + 1 :]
        stamp = b"\r\nNats-Stream: %s\r\nNats-Subject: %s%s\r\n" % (self._by, subject[:prefix], name)
        stamped = _STAMPED.match(headers, headers.rfind(stamp) + len(stamp))
        if stamped is None or stamp not in headers or reply:
            return  # somebody else's: a consumer's delivery, for example, that is aimed at this subject
        text = name.decode(errors="replace")
        message = Message(int(stamped[1]), text, body, headers, 0, micros(stamped[2].decode()))
        if self._held is not None:
            if len(self._held) < KEPT:
                self._held.append(message)
        elif message.seq > self._last and not self._accept(message):
            self._held = [message]
            self._suspect.set()

    def _accept(self, message: Message) -> bool:
        """Take a message if it follows the last one."""
        if not self._follows(message) or len(self._ready) >= KEPT:
            return False
        self._append(message)
        return True

    def _follows(self, message: Message) -> bool:
        if not self._part:
            return message.seq == self._last + 1
        follows = message.header(FOLLOWS)
        return bool(follows) and int(follows) <= self._last

    def _append(self, message: Message) -> None:
        if not self._ready:
            self.wake.set()
        self._ready.append(message)
        self._last = message.seq

    def _heard(self, _subject: bytes, _reply: bytes, _headers: bytes, body: bytes) -> None:
        self._named = msgspec.json.decode(body, type=Heartbeat).newest

    # --- what is missing --------------------------------------------------------------------------------

    async def _run(self) -> None:
        delay = BACKOFF
        while True:
            try:
                await self._listen()
                await self._store.until_connected()
                generation = self._store.generation
                await self._repair()
                delay = BACKOFF
                await self._until_suspect(generation)
            except (Rewound, StreamMissing, Refused, Closed) as error:
                self._fail(error)
                return
            except Unavailable as error:
                log.info("following is interrupted", stream=self._stream, why=str(error))
                self._held, self._doubt = self._held or [], True
                await asyncio.sleep(random.uniform(0.0, delay))
                delay = min(delay * 2, MAX_BACKOFF)

    async def _listen(self) -> None:
        if self._sids:
            return
        store, prefix = self._store, self._store.layout.prefix
        followed = self._filter.removeprefix(prefix)
        self._sids.append(await store.listen(f"{prefix}{LIVE}.{followed}", self._sink))
        if self._part and self._part not in shared(self._role):
            self._sids.append(await store.listen(f"{prefix}{ALIVE}.{self._part}", self._heard))

    async def _repair(self) -> None:
        """Read what the log has behind the last message, then take what came meanwhile. Raises BusError."""
        store, first = self._store, self._held is None
        self._held = self._held or []
        while self._held or first or self._doubt:
            first = False
            self._suspect.clear()
            before = self._last
            # What is read next leaves out what the log has dropped.
            known = Position(self.position.epoch, max(before, self._confirmed), "")
            await store.check(self._stream, self.arrived if self._doubt else known)
            self._doubt = False
            end = store.end(self._role)
            held, self._held = self._held, []
            if await self._read_singly():
                await self._read_log()
            if self._last > before:
                await store.check(self._stream, known)
            elif any(message.seq > self._last for message in held):
                # The log does not go back as far as what it published.
                await store.check(self._stream, self.arrived)
                for message in held:
                    if message.seq > self._last:
                        self._append(message)
            self._confirmed = max(self._confirmed, end, self._last)
            self._held = self._not_taken(held + self._held)
        self._held = None
        self._verify_at = tasks.monotonic() + random.uniform(VERIFY, 2 * VERIFY)

    def _not_taken(self, held: list[Message]) -> list[Message]:
        """Take the messages up to the first one that does not follow; returns the rest."""
        for index, message in enumerate(held):
            if message.seq > self._last and not self._accept(message):
                return held[index:]
        return []

    async def _read_singly(self) -> bool:
        """Read the next messages, one with each request; returns whether there are more."""
        for _ in range(SINGLY):
            message = await self._store.next(self._role, self._last, self._under)
            if message is None:
                return False
            metrics.REPAIRS.labels(self._name).inc()
            self._append(message)
            await self._until_room()
        return True

    async def _read_log(self) -> None:
        """Read the rest with a consumer. Raises BusError."""
        wake = asyncio.Event()
        pull = Pull(self._store, self._stream, self._filter, self._name, self.arrived, wake)
        pull.start()
        try:
            while not (pull.caught_up and not pull.lag):
                await wake.wait()
                wake.clear()
                for message in pull.take():
                    self._append(message)
                await self._until_room()
        finally:
            await pull.close()

    async def _until_room(self) -> None:
        while len(self._ready) >= KEPT:
            await asyncio.sleep(LOOK)

    async def _until_suspect(self, generation: int) -> None:
        """Returns when something may be missing. Raises Closed."""
        named, last = self._end_by_heartbeat(), self._last
        while not self._suspect.is_set():
            await tasks.until_set(self._suspect, LOOK)
            if self._store.closed:
                raise Closed(self._store.closed)
            if self._store.generation != generation or self._is_doubtful(last):
                self._doubt = True
                return
            if named > self._last:  # it was named a look ago, and has not arrived
                return
            named, last = self._end_by_heartbeat(), self._last
            if tasks.monotonic() > self._verify_at and self._store.end(self._role) > self._confirmed:
                return

    def _end_by_heartbeat(self) -> int:
        """The newest sequence of this part by the heartbeats, 0 if unknown."""
        beat = self._store.beats.get(self._role)
        named = (beat.parts.get(self._part) if self._part else beat.newest) if beat else None
        if beat is None or named is None:
            return self._named
        if named <= self._last:
            self._confirmed = max(self._confirmed, beat.newest)
        return named

    def _is_doubtful(self, before: int) -> bool:
        """Whether a new heartbeat is of another log, or of one that ends before what was read a look ago."""
        known, beat = self._beat, self._store.beats.get(self._role)
        self._beat = beat
        if beat is None or beat is known:
            return False
        return beat.epoch != self.position.epoch or beat.newest < before
