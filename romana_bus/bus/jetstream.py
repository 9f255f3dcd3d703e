"""The store on NATS JetStream: streams, tables, fenced batches, single publishes, leases.

Requests go through nats-py; batches and what is read go past it (`wire.py`). Nothing here retries a
write by itself: whether a lost answer was a lost message is decided by `write.py`, which reads back.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import itertools
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import nats.errors
import structlog

from romana_bus.bus import streams
from romana_bus.bus.api import (
    BusError,
    Closed,
    DuplicateId,
    Election,
    Message,
    Outgoing,
    Position,
    Refused,
    Rewound,
    StreamMissing,
    Tail,
    Unavailable,
    WrongSequence,
    stamp,
)
from romana_bus.bus.lease import JetStreamLease
from romana_bus.bus.read import Pull, TableRead
from romana_bus.bus.wire import Sink, Wire, raw_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from romana_bus.bus.streams import Config, Layout

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Server error codes (nats-server/server/errors.json) -> what they mean to a writer or reader.
ERRORS: dict[int, type[BusError]] = {
    10059: StreamMissing,
    10071: WrongSequence,  # wrong last sequence
    10164: WrongSequence,  # wrong last sequence, on a cluster
    10158: Unavailable,  # the same id is on its way already: sent again too early
    10201: DuplicateId,  # a batch holds an id that is known
    10210: Unavailable,  # too many batches in flight: abandoned ones go after 10 s
    10176: Unavailable,  # a batch of which the beginning was lost with a connection
    10008: Unavailable,  # no cluster leader
}
NOT_FOUND = 10037
API_HEADERS = b"NATS/1.0\r\nNats-Required-Api-Level: %d\r\n\r\n" % streams.API_LEVEL
ANSWER_WITHIN = 3.0
#: Up to so many messages go out one by one, each under its fence: the server stages a batch in files of
#: its own, which takes 4 ms, while each of a few single messages takes 0.3 ms.
SINGLY = 8
#: Batches of one writer that may be on their way.
IN_FLIGHT = 4


class JetStream:
    """See `api.Store`. `instance` tells this process from others in names of consumers and batches.
    `creates`: whether it makes streams that are missing."""

    def __init__(self, wire: Wire, layout: Layout, creates: bool = True) -> None:
        self.wire, self.layout, self.creates = wire, layout, creates
        self.cluster, self.history = layout.cluster, layout.history
        self.prefix_size = len(layout.prefix)
        self.instance = uuid.uuid4().hex[:8]
        self.generation = 0
        self.opened = False
        self.closed = ""
        self._connected = asyncio.Event()
        self._connected.set()
        self._inbox = wire.new_inbox()
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, tuple[asyncio.Future[Any], Callable[[bytes, bytes], Any]]] = {}

    async def open(self) -> None:
        await self.listen(f"{self._inbox}.re.*", self._answered)
        self.opened = True

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2.0):
                await self.wire.close()

    # --- the connection: callbacks that connect.py hooks up ----------------------------------------

    async def disconnected(self) -> None:
        """What was in flight may have been stored or not: its senders have to look."""
        self._connected.clear()
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            _settle(future, Unavailable("the connection to NATS was lost"))

    async def reconnected(self) -> None:
        self.wire.guard_socket()
        self.generation += 1
        self._connected.set()

    async def until_connected(self) -> None:
        if self.closed:
            raise Closed(self.closed)
        await self._connected.wait()
        if self.closed:
            raise Closed(self.closed)

    def closed_because(self, reason: str) -> None:
        self.closed = reason
        self._connected.set()

    # --- requests -----------------------------------------------------------------------------------

    async def api(self, verb: str, body: Any = None, timeout: float = ANSWER_WITHIN) -> dict[str, Any]:
        """One request of the JetStream API; its errors as exceptions of `bus.api`."""
        payload = msgspec.json.encode(body) if body is not None else b""
        reply, future = self._expect(_body)
        self._send(raw_message(f"$JS.API.{verb}", payload, reply, API_HEADERS), future)
        what = verb.partition(".")[0] + " " + verb.split(".")[1] if "." in verb else verb
        try:
            async with asyncio.timeout(timeout):
                decoded: dict[str, Any] = msgspec.json.decode(await future)
        except (TimeoutError, Unavailable) as error:
            if self.closed:
                raise Closed(self.closed) from None
            raise Unavailable(f"NATS does not answer ({what}): {str(error) or 'time is up'}") from None
        if "error" in decoded:
            raise _meaning(decoded["error"])
        return decoded

    async def listen(self, subject: str, sink: Sink) -> bytes:
        try:
            return await self.wire.listen(subject, sink)
        except nats.errors.Error as error:
            raise Closed(self.closed) if self.closed else Unavailable(str(error)) from None

    def inbox(self) -> str:
        return f"{self._inbox}.{next(self._numbers)}"

    def subject(self, role: str, under: str) -> str:
        """The full subject, or filter, for one without the prefix; '>' means the role's whole stream."""
        return self.layout.prefix + (f"{streams.TOKENS[role]}.>" if under == ">" else under)

    def ask(
        self, stream: str, consumer: str, reply: str, count: int, expires: float, heartbeat: float
    ) -> None:
        request = b'{"batch":%d,"expires":%d,"idle_heartbeat":%d}' % (
            count, int(expires * 1e9), int(heartbeat * 1e9)
        )  # fmt: skip
        self.wire.send(raw_message(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", request, reply))

    # --- streams --------------------------------------------------------------------------------------

    async def prepare(self, roles: Sequence[str]) -> None:
        epoch = uuid.uuid4().hex
        for role in roles:
            log_stream = await self._ensure(streams.log_config(self.layout, role, epoch))
            real = log_stream["metadata"]["romana_epoch"]
            table = await self._ensure(streams.table_config(self.layout, role, real))
            if table["metadata"]["romana_epoch"] != real:
                raise Refused(
                    f"stream {table['name']} is the table of another log than {log_stream['name']}, which "
                    f"was deleted and made anew: restore both, or remove both with `nats stream rm`"
                )
            self.history = log_stream["max_age"] / streams.SECOND
        await self._ensure(streams.lease_config(self.layout, 2.0))

    async def _ensure(self, wanted: Config) -> Config:
        """Create the stream if it is missing; what then is there has to be safe."""
        try:
            echoed = (await self.api(f"STREAM.INFO.{wanted['name']}"))["config"]
        except StreamMissing:
            if not self.creates:
                raise
            try:
                echoed = (await self.api(f"STREAM.CREATE.{wanted['name']}", wanted))["config"]
            except Refused as error:  # another process was faster, with another epoch
                with contextlib.suppress(StreamMissing):
                    return await self._ensure_existing(wanted)
                raise error from None
        return self._checked(wanted, echoed)

    async def _ensure_existing(self, wanted: Config) -> Config:
        return self._checked(wanted, (await self.api(f"STREAM.INFO.{wanted['name']}"))["config"])

    def _checked(self, wanted: Config, echoed: Config) -> Config:
        if found := streams.unsafe(wanted, echoed):
            raise Refused("; ".join(found))
        return echoed

    async def tail(self, role: str) -> Tail:
        return await self.stream_tail(self.layout.stream(role))

    async def stream_tail(self, stream: str) -> Tail:
        info = await self.api(f"STREAM.INFO.{stream}")
        epoch = (info["config"].get("metadata") or {}).get("romana_epoch", "")
        return Tail(epoch, info["state"]["first_seq"], info["state"]["last_seq"])

    async def check(self, stream: str, position: Position) -> None:
        """Raises Rewound unless the stream still holds what was read up to `position`."""
        tail = await self.stream_tail(stream)
        if tail.epoch != position.epoch:
            raise Rewound(f"{stream} was made anew: epoch {tail.epoch or '(none)'}, not {position.epoch}")
        if position.seq > tail.last:
            raise Rewound(f"{stream} went back to sequence {tail.last}, behind {position.seq}")
        if position.seq + 1 < tail.first and not stream.endswith("_LATEST"):
            raise Rewound(f"{stream} starts at {tail.first} now: what came behind {position.seq} is gone")
        found = await self._get(stream, {"seq": position.seq}) if position.id else None
        if found is not None and found.id != position.id:
            raise Rewound(f"{stream} holds {found.id!r} at {position.seq}, not {position.id!r}")

    # --- single messages ------------------------------------------------------------------------------

    async def get(self, role: str, seq: int) -> Message | None:
        return await self._get(self.layout.stream(role), {"seq": seq}) if seq > 0 else None

    async def next(self, role: str, after: int, under: str = ">") -> Message | None:
        which = {"seq": after + 1, "next_by_subj": self.subject(role, under)}
        return await self._get(self.layout.stream(role), which)

    async def newest(self, role: str, subject: str) -> Message | None:
        # The log first: on a cluster that lost a server, the table can be a minute behind it.
        found = await self.newest_of(self.layout.stream(role), subject)
        return found or await self.newest_of(self.layout.table(role), subject)

    async def newest_of(self, stream: str, subject: str) -> Message | None:
        return await self._get(stream, {"last_by_subj": self.layout.prefix + subject})

    async def _get(self, stream: str, which: dict[str, Any]) -> Message | None:
        try:
            found = (await self.api(f"STREAM.MSG.GET.{stream}", which))["message"]
        except Refused as error:
            if error.code == NOT_FOUND:
                return None
            raise
        return Message(
            seq=found["seq"],
            subject=found["subject"][self.prefix_size :],
            body=base64.b64decode(found.get("data", "")),
            headers=base64.b64decode(found.get("hdrs", "")),
        )

    async def publish(self, role: str, message: Outgoing, expected: int | None = None) -> int:
        if expected and expected < (await self.tail(role)).first:
            expected = 0  # in the table only: the log, which is asked to compare, has forgotten it
        return await self.put(message, expected)

    async def put(self, message: Outgoing, expected: int | None = None) -> int:
        """One message to whatever stream takes its subject; `expected` as that stream counts."""
        extra = b"" if expected is None else b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % expected
        reply, future = self._expect(_sequence)
        self._send(self._frame(message, reply, extra), future)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await future
        except TimeoutError:
            raise Unavailable(f"no acknowledgement within {ANSWER_WITHIN:.0f} s") from None

    # --- batches --------------------------------------------------------------------------------------

    @property
    def window(self) -> int:
        """A cluster takes one write at a time under one election (error 10164 for the second); with one in
        flight, the sequence alone fences."""
        return 1 if self._clustered else IN_FLIGHT

    @property
    def _clustered(self) -> bool:
        return bool(self.wire.info.get("cluster"))

    def batch(
        self, role: str, expected: int, messages: Sequence[Outgoing], election: Election | None = None
    ) -> Awaitable[int]:
        fence = b"Nats-Expected-Stream: %s\r\n" % self.layout.stream(role).encode()
        if election and not self._clustered:
            subject = (self.layout.prefix + election.subject).encode()
            fence += b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % election.seq
            fence += b"Nats-Expected-Last-Subject-Sequence-Subject: %s\r\n" % subject
        if len(messages) <= (SINGLY if election and not self._clustered else 1):
            return self._singly(expected, messages, fence)
        reply, future = self._expect(_sequence)
        batch_id = f"{self.instance}-{next(self._numbers)}".encode()
        size, frames = len(messages), []
        for number, message in enumerate(messages, 1):
            extra = b"Nats-Batch-Id: %s\r\nNats-Batch-Sequence: %d\r\n" % (batch_id, number)
            if number == 1:
                extra += b"Nats-Expected-Last-Sequence: %d\r\n%s" % (expected, fence)
            if number == size:
                extra += b"Nats-Batch-Commit: 1\r\n"
            frames.append(self._frame(message, reply if number == size else "", extra))
        self._send(b"".join(frames), future)
        return future

    def _singly(self, expected: int, messages: Sequence[Outgoing], fence: bytes) -> Awaitable[int]:
        """Each under its own fence: where one is not stored, those behind it are not either."""
        answers, frames = [], []
        for place, message in enumerate(messages, expected + 1):
            reply, future = self._expect(functools.partial(_placed, place))
            extra = b"Nats-Expected-Last-Sequence: %d\r\n%s" % (place - 1, fence)
            frames.append(self._frame(message, reply, extra))
            answers.append(future)
        self._send(b"".join(frames), *answers)
        return _last_of(answers)

    def _frame(self, message: Outgoing, reply: str, extra: bytes) -> bytes:
        """One message on the wire. Raises Refused where the server would cut the connection for it."""
        headers = _headers(message, extra)
        if len(headers) + len(message.body) > self.wire.max_payload:
            raise Refused(
                f"{message.subject}: {len(message.body)} bytes are more than the server's max_payload of "
                f"{self.wire.max_payload}"
            )
        return raw_message(self.layout.prefix + message.subject, message.body, reply, headers)

    def _expect(self, read: Callable[[bytes, bytes], T]) -> tuple[str, asyncio.Future[T]]:
        """A reply subject, and the future of what `read` makes of the headers and body that come there.
        (nats-py's own requests use `wait_for`, which in Python 3.11 can swallow a cancellation.)"""
        token = b"%d" % next(self._numbers)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future, read
        future.add_done_callback(lambda _: self._waiting.pop(token, None))
        return f"{self._inbox}.re.{token.decode()}", future

    def _send(self, frames: bytes, *answers: asyncio.Future[T]) -> None:
        """Write frames; where that cannot be, it is the outcome of all the answers that they would have."""
        try:
            if not self._connected.is_set():  # or connected, but nobody has heard of it yet
                raise Unavailable("not connected to NATS")
            self.wire.send(frames)
        except Unavailable as error:
            for answer in answers:
                _settle(answer, error)

    def _answered(self, subject: bytes, _reply: bytes, headers: bytes, body: bytes) -> None:
        future, read = self._waiting.pop(subject.rpartition(b".")[2], (None, _body))
        if future is None:
            return
        try:
            _settle(future, read(headers, body))
        except BusError as error:
            _settle(future, error)

    # --- reading and leases -----------------------------------------------------------------------------

    def table(self, role: str, under: str = ">") -> TableRead:
        return TableRead(self, role, under)

    def follow(self, role: str, under: str, after: Position, wake: asyncio.Event, name: str) -> Pull:
        pull = Pull(self, self.layout.stream(role), self.subject(role, under), name, after, wake)
        pull.start()
        return pull

    def lease(self, name: str, holder: str, ttl: float = 2.0) -> JetStreamLease:
        return JetStreamLease(self, name, holder, ttl)


def _headers(message: Outgoing, extra: bytes) -> bytes:
    """The header block. `extra`: whole lines that only this publish needs."""
    lines = f"Romana-Time: {_stamp(message.time)}\r\n"
    if message.id:
        lines = f"Nats-Msg-Id: {message.id}\r\n{lines}"
    if message.cause:
        lines += f"Romana-Cause: {message.cause}\r\n"
    if message.ttl:
        lines += f"Nats-TTL: {message.ttl}s\r\n"
    return b"NATS/1.0\r\n%s%s\r\n" % (extra, lines.encode())


#: A batch shares one time, or a few.
_stamp = functools.lru_cache(maxsize=64)(stamp)


def _body(headers: bytes, body: bytes) -> bytes:
    """Of an answer; 503 says that there is nobody to give one."""
    if headers[8:12] == b" 503":
        raise Unavailable("nobody serves this subject: no JetStream, no stream, or no leader")
    return body


def _sequence(headers: bytes, body: bytes) -> int:
    """Of a publish acknowledgement."""
    answer = msgspec.json.decode(_body(headers, body))
    if "error" in answer:
        raise _meaning(answer["error"])
    return int(answer["seq"])


def _placed(place: int, headers: bytes, body: bytes) -> int:
    """Of one that was to become number `place`: a known id is answered with where it stands already."""
    seq = _sequence(headers, body)
    if seq != place:
        raise DuplicateId(f"stored already, as {seq}")
    return seq


async def _last_of(answers: list[asyncio.Future[int]]) -> int:
    """Or what befell the first one that failed; a cluster tells of those behind it earlier."""
    found = await asyncio.gather(*answers, return_exceptions=True)
    if failure := next((one for one in found if isinstance(one, BaseException)), None):
        raise failure
    return answers[-1].result()


def _settle(future: asyncio.Future[T], outcome: T | BusError) -> None:
    if future.done():
        return
    if isinstance(outcome, BusError):
        future.set_exception(outcome)
        future.exception()  # whoever gave up on it must not be told at its end
    else:
        future.set_result(outcome)


def _meaning(error: dict[str, Any]) -> BusError:
    code, text = error.get("err_code", 0), error.get("description", "unknown error")
    if kind := ERRORS.get(code):
        return kind(text)
    if error.get("code", 0) in (429, 500, 503):
        return Unavailable(text)
    return Refused(f"{text} (error {code})", code)
