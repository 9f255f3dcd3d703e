"""The pull loop that reads a stream.

nats-py's ordered consumer loses messages silently under load, and the server drops a push consumer as slow.
So this uses an ephemeral pull consumer with one filter (two are a hundred times slower), requests several
thousand messages ahead, and checks what arrives: the consumer's sequence must be dense, the stream's must
rise. After a gap, a lost consumer, a reconnect or silence, it creates a new consumer behind the last message
that arrived. Before that it checks that the stream is still the one that was read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import structlog

from romana_bus import tasks
from romana_bus.bus.api import (
    BusError,
    Closed,
    Message,
    Position,
    Refused,
    Rewound,
    StreamMissing,
    TooManyConsumers,
    Unavailable,
)
from romana_bus.events.base import token
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from romana_bus.bus.jetstream.messages import Streams

log = structlog.get_logger(__name__)

#: Messages in one request, and requested ahead at most: enough to never wait for the server at 300,000/s.
ASK, AHEAD = 1000, 4000
#: Seconds: between heartbeats; of silence after which the consumer counts as lost (with its server, for
#: example); and between two checks of that.
HEARTBEAT, SILENT, CHECK_EVERY = 3.0, 4.5, 1.0
EXPIRES = 60.0
#: Seconds after which the server removes a consumer that its reader has left and may not delete.
FORGOTTEN = 30.0

#: Behind all sequences.
NEVER = 1 << 63

_numbers = itertools.count(1)


class Cursor(ABC):
    """What has arrived of one server-side stream behind `position`, until it is taken. See `api.Reading`."""

    def __init__(self, stream: str, position: Position, wake: asyncio.Event) -> None:
        self.position, self.wake = position, wake
        self._stream = stream
        self._ready: list[Message] = []
        self._last = position.seq  # of what has arrived, taken or not
        self._failure: BusError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def arrived(self) -> Position:
        """Up to where messages have arrived, taken or not."""
        newest = self._ready[-1] if self._ready else self.position
        return Position(self.position.epoch, self._last, newest.id)

    def take(self) -> list[Message]:
        ready, self._ready = self._ready, []
        if ready:
            newest = ready[-1]
            self.position = Position(self.position.epoch, newest.seq, newest.id)
            if self._failure:
                self.wake.set()  # the next call raises it
        elif self._failure:
            raise self._failure
        return ready

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"read {self._stream}")

    async def close(self) -> None:
        task, self._task = self._task, None
        await stop(task)
        await self._leave()

    def _fail(self, error: BusError) -> None:
        """Let `take` raise an error that only the caller can handle."""
        self._failure = Rewound(str(error)) if isinstance(error, StreamMissing) else error
        self.wake.set()

    @abstractmethod
    async def _run(self) -> None:
        """Read until `_fail`."""

    @abstractmethod
    async def _leave(self) -> None:
        """Give up what the server holds for this cursor."""


class Pull(Cursor):
    """A cursor over a log or a table by a consumer. `bodies`: else messages come without."""

    def __init__(
        self,
        store: Streams,
        stream: str,
        under: str,
        name: str,
        position: Position,
        wake: asyncio.Event,
        bodies: bool = True,
    ) -> None:
        super().__init__(stream, position, wake)
        self.caught_up = False
        self._bodies = bodies
        self._store, self._filter = store, under
        self._name = token(name)  # it becomes part of subjects, where a space breaks the connection
        self._consumer, self._reply, self._sid = "", "", b""
        self._consumer_seq = 0
        self._credit = 0
        self._starved = False
        # The first sequence, since the last look, after which others were left out while messages waited.
        self._jumped_from = NEVER
        self._pending = 0
        self._heard = time.monotonic()
        self._broken = asyncio.Event()

    @property
    def lag(self) -> int:
        return len(self._ready) + self._pending

    def take(self) -> list[Message]:
        if ready := super().take():
            self._ask()
        return ready

    async def _run(self) -> None:
        delay = 0.05
        while True:
            before = self._last
            try:
                await self._create_consumer()
                await self._watch()
                if self._last > before:
                    delay = 0.05  # it delivered something: create the next one at once
                    continue
                log.info("a consumer delivered nothing", stream=self._stream)
            except (Rewound, StreamMissing, Refused, Closed) as error:
                self._fail(error)
                return
            except TooManyConsumers as error:
                log.warning("waiting for another reader to leave", stream=self._stream, why=str(error))
            except Unavailable as error:
                log.info("reading is interrupted", stream=self._stream, why=str(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1.0)

    async def _create_consumer(self) -> None:
        await self._store.until_connected()
        await self._store.check(self._stream, self.arrived)
        await self._leave()
        inbox = self._store.inbox()
        self._consumer = f"{self._name}-{self._store.instance}-{next(_numbers)}"
        self._consumer_seq, self._credit = 0, 0
        self._heard = time.monotonic()
        self._broken.clear()
        self._sid, self._reply = await self._store.listen(inbox, self._sink), inbox
        answer = await self._store.api(
            f"CONSUMER.CREATE.{self._stream}.{self._consumer}.{self._filter}",
            {
                "stream_name": self._stream,
                "action": "create",
                "config": self._consumer_config(),
            },
        )
        self._pending = answer["num_pending"]
        self._reached_end()
        self._ask()

    def _consumer_config(self) -> dict[str, Any]:
        return {
            "name": self._consumer,
            "filter_subject": self._filter,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._last + 1,
            "replay_policy": "instant",
            "inactive_threshold": int((3 * EXPIRES if self._store.deletes else FORGOTTEN) * 1e9),
            "max_waiting": 64,
            "mem_storage": True,
            "num_replicas": 1,
            "headers_only": not self._bodies,
        }

    async def _watch(self) -> None:
        """Returns when a new consumer is needed. Raises Closed, and Rewound if the log has dropped messages
        before they were read: a consumer just skips them."""
        generation = self._store.generation
        while not self._broken.is_set():
            await tasks.until_set(self._broken, CHECK_EVERY)
            if self._jumped_from < NEVER:
                jumped_from, self._jumped_from = self._jumped_from, NEVER
                await self._check_skipped(jumped_from)
            # Without a pending request (the caller takes nothing), the server sends no heartbeats.
            silent = self._credit > 0 and time.monotonic() - self._heard > SILENT
            if self._store.generation != generation or silent:
                return
            if self._store.closed:
                raise Closed(self._store.closed)

    async def _check_skipped(self, last: int) -> None:
        """Messages behind `last` were left out. That is so with a filter, and where the log has dropped them.
        Raises Rewound, Unavailable."""
        first = (await self._store.stream_tail(self._stream)).first
        if first > last + 1 and not self._stream.endswith("_LATEST"):
            raise Rewound(f"{self._stream} has dropped messages behind {last} that were not read yet")

    def _ask(self) -> None:
        """Keep AHEAD messages requested, less those that were not taken yet."""
        with contextlib.suppress(Unavailable):
            while self._consumer and self._credit + len(self._ready) + ASK <= AHEAD:
                self._store.ask(self._stream, self._consumer, self._reply, ASK, EXPIRES, HEARTBEAT)
                self._credit += ASK

    def _sink(self, subject: bytes, reply: bytes, headers: bytes, body: bytes) -> None:
        self._heard = time.monotonic()
        if headers[8:9] == b" ":
            return self._status(headers)
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>;
        # newer servers add tokens in front, so it is read from the right.
        _, seq_text, consumer_seq, stored, pending = reply.rsplit(b".", 4)
        seq = int(seq_text)
        if int(consumer_seq) != self._consumer_seq + 1 or seq <= self._last:
            self._broken.set()
            return None
        if seq > self._last + 1 and (self._pending or self._starved):
            self._jumped_from = min(self._jumped_from, self._last)
        self._consumer_seq += 1
        self._credit -= 1
        self._starved = self._credit <= 0  # what comes now waits at the server
        self._last = seq
        self._pending = int(pending)
        if not self._ready:
            self.wake.set()
        name = subject[self._store.prefix_size :].decode(errors="replace")
        self._ready.append(Message(seq, name, body, headers, self._pending, int(stored) // 1000))
        self._reached_end()
        if not body and not headers and not self._store.deletes:
            # To another account, nats-server (2.15) ends an answer there: the rest of it would be lost.
            self._broken.set()
        if self._credit <= AHEAD - 2 * ASK:
            self._ask()
        return None

    def _reached_end(self) -> None:
        if self._pending == 0 and not self.caught_up:
            self.caught_up = True
            self.wake.set()

    def _status(self, headers: bytes) -> None:
        """Handle a status message. 100: heartbeat, if nothing could be delivered for a while; 408: a request
        expired; all others end this consumer."""
        code = headers[9:12]
        if code == b"408":
            left = Message(0, "", b"", headers).header(b"Nats-Pending-Messages")
            self._credit -= int(left) if left else min(ASK, self._credit)
            self._ask()
        elif code == b"100":
            delivered = Message(0, "", b"", headers).header(b"Nats-Last-Consumer")
            if delivered == str(self._consumer_seq):
                # What was still pending may have been deleted from the table meanwhile.
                self._pending = 0
                self._reached_end()
            elif delivered.isdecimal() and int(delivered[:20]) > self._consumer_seq:
                self._broken.set()  # messages were lost
        else:
            log.info("consumer lost", stream=self._stream, status=headers[9:60].split(b"\r\n")[0].decode())
            self._broken.set()

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, ""
        if self._sid:
            await self._store.wire.unlisten(self._sid)
            self._sid = b""
        if consumer and self._store.deletes:
            with contextlib.suppress(BusError):
                await self._store.api(f"CONSUMER.DELETE.{self._stream}.{consumer}", timeout=1.0)


class TableRead:
    """See `api.Table`."""

    def __init__(self, store: Streams, role: str, under: str) -> None:
        self.reached = Position("", 0, "")
        self._store, self._role, self._under = store, role, under

    async def __aiter__(self) -> AsyncIterator[list[Message]]:
        store, stream = self._store, self._store.layout.table(self._role)
        tail = await store.stream_tail(stream)
        wake, start, began = asyncio.Event(), Position(tail.epoch, 0, ""), store.clock.now()
        pull = Pull(store, stream, store.subject(self._role, self._under), "table", start, wake)
        pull.start()
        try:
            while True:
                await wake.wait()
                wake.clear()
                if messages := pull.take():
                    yield messages
                if pull.caught_up and not pull.lag:
                    break
        finally:
            await pull.close()
        self.reached = await store.reached(self._role, pull.position, began)
