"""A table read by batched direct requests, which need no consumer at the server: thousands of agents may read
at once. (NATS, ADR-31: `$JS.API.DIRECT.GET` with `batch` and `next_by_subj`; nats-server 2.11.)

An answer is a run of messages and a status 204. Each message names the sequence of the one before it in the
answer, so a gap is seen; from the last good message on, the rest is requested again.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import msgspec

from romana_bus.bus.api import BusError, Message, Position, Refused, Unavailable, micros
from romana_bus.bus.jetstream.fastlane import raw_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from romana_bus.bus.jetstream.messages import Streams

#: Messages in one answer: each request costs the server some milliseconds, and an answer has no flow control.
BATCH = 4000
#: Seconds without a message after which an answer counts as lost; requests without any progress before the
#: read fails; seconds between two of them, at most, drawn at random, since all agents lose a server together.
SILENT, TRIES, PAUSE = 3.0, 5, 1.0
#: Statuses: the end of an answer, nothing there, nobody there.
END, NOTHING, NOBODY = b"204", b"404", b"503"


class DirectTable:
    """See `api.Table`."""

    def __init__(self, store: Streams, role: str, under: str) -> None:
        self.reached = Position("", 0, "")
        self._store, self._role = store, role
        self._stream, self._filter = store.layout.table(role), store.subject(role, under)

    async def __aiter__(self) -> AsyncIterator[list[Message]]:
        store = self._store
        tail = await store.stream_tail(self._stream)
        position, failures, began = Position(tail.epoch, 0, ""), 0, store.clock.now()
        answer = _Answer(store, 0)
        sid = await store.listen(inbox := store.inbox(), answer.take)
        try:
            while not answer.complete:
                answer.begin(position.seq)
                self._ask(position.seq + 1, inbox)
                await answer.end()
                if messages := answer.messages:
                    position, failures = Position(tail.epoch, messages[-1].seq, messages[-1].id), 0
                    yield messages
                elif not answer.complete:
                    failures += 1
                    if failures == TRIES:
                        raise Unavailable(f"{self._stream} cannot be read: {answer.why or 'no answer'}")
                    await asyncio.sleep(random.uniform(0.0, PAUSE))
        finally:
            await store.wire.unlisten(sid)
        self.reached = await store.reached(self._role, position, began)

    def _ask(self, seq: int, inbox: str) -> None:
        request = {"seq": seq, "batch": BATCH, "next_by_subj": self._filter}
        subject = f"$JS.API.DIRECT.GET.{self._stream}"
        self._store.wire.send(raw_message(subject, msgspec.json.encode(request), inbox))


class _Answer:
    """One answer after another, on one inbox. `complete`: nothing is left to request. `why`: the last status
    that was none of that."""

    def __init__(self, store: Streams, after: int) -> None:
        self.messages: list[Message] = []
        self.complete, self.why = False, ""
        self._store, self._last, self._previous = store, after, 0
        self._ended, self._heard = asyncio.Event(), 0
        self._failure: BusError | None = None

    def begin(self, after: int) -> None:
        self.messages, self._last, self._previous = [], after, 0
        self._ended.clear()

    async def end(self) -> None:
        """Returns when the answer has ended, or nothing came for SILENT seconds. Raises Refused."""
        while not self._ended.is_set():
            heard = self._heard
            try:
                async with asyncio.timeout(SILENT):
                    await self._ended.wait()
            except TimeoutError:
                if self._heard == heard:
                    break
        if self._failure:
            raise self._failure

    def take(self, _subject: bytes, _reply: bytes, headers: bytes, body: bytes) -> None:
        self._heard += 1
        if headers[8:9] == b" ":
            self._status(headers)
            return
        if self._ended.is_set():
            return  # the rest of an answer that had a gap
        message = Message(0, "", body, headers)
        message.seq, previous = int(message.header(b"Nats-Sequence")), message.header(b"Nats-Last-Sequence")
        if int(previous) != self._previous or message.seq <= self._last:
            self._ended.set()
            return
        message.subject = message.header(b"Nats-Subject")[self._store.prefix_size :]
        message.stored = micros(message.header(b"Nats-Time-Stamp"))
        message.pending = int(message.header(b"Nats-Num-Pending"))
        self._last = self._previous = message.seq
        self.messages.append(message)

    def _status(self, headers: bytes) -> None:
        code = headers[9:12]
        text = headers[9:80].split(b"\r\n")[0].decode(errors="replace")
        if code == END:
            end = Message(0, "", b"", headers)
            whole = int(end.header(b"Nats-Last-Sequence") or 0) == self._previous
            self.complete = whole and int(end.header(b"Nats-Num-Pending") or 0) == 0
        elif code == NOTHING:
            self.complete = not self.messages
        elif code == NOBODY:
            self.why = "nobody serves direct requests of it"
        else:
            self._failure = Refused(f"a direct request was refused: {text}")
        self._ended.set()
