"""Requests to a NATS server and their answers, over one connection that may be lost and restored.

nats-py's own requests use `wait_for`, which in Python 3.11 can swallow a cancellation, and cost 15 µs each.
Writes are not retried here: the caller finds out whether a message was stored although its answer was lost.
An answer that cannot be read counts as no answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from romana_bus import tasks
from romana_bus.bus import stream_config
from romana_bus.bus.api import (
    BusError,
    Closed,
    DuplicateId,
    NotPermitted,
    Refused,
    StreamMissing,
    TooManyConsumers,
    Unavailable,
    WrongSequence,
)
from romana_bus.bus.jetstream.fastlane import Sink, Wire, raw_message
from romana_bus.bus.jetstream.library import NatsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")

#: Server error codes (nats-server/server/errors.json) -> what they mean to a writer or reader.
ERRORS: dict[int, type[BusError]] = {
    10059: StreamMissing,
    10071: WrongSequence,  # wrong last sequence
    10164: WrongSequence,  # wrong last sequence, on a cluster
    10158: Unavailable,  # the same id is in flight: it was sent again too early
    10201: DuplicateId,  # a batch contains a known id
    10210: Unavailable,  # too many batches in flight: abandoned ones expire after 10 s
    10176: Unavailable,  # a batch whose beginning was lost with a connection
    10008: Unavailable,  # no cluster leader
    10026: TooManyConsumers,
}
#: Server error codes -> the setting to change.
SETTINGS = {
    10026: "raise `jetstream { limits { default_max_consumers } }` in the NATS servers' config",
    10047: "raise `jetstream { max_file_store }` in the NATS server's config, or make the store smaller",
    10002: "raise the account's JetStream storage, or make the store smaller",
    10023: "the NATS server's storage is used up: raise `jetstream { max_file_store }`, or make room",
}
API_HEADERS = b"NATS/1.0\r\nNats-Required-Api-Level: %d\r\n\r\n" % stream_config.API_LEVEL
ANSWER_WITHIN = 3.0
#: Seconds within which a stream has a leader again.
LEADER_WITHIN = 15.0
#: Requests that may be repeated, and seconds until they are: a stream without a leader does not answer a
#: request, even once it has a leader again.
REPEATABLE, REPEAT = ("INFO", "STREAM.INFO.", "STREAM.MSG.GET.", "CONSUMER.CREATE."), 0.5
#: The largest answer that is decoded: an INFO has some thousand bytes, a message up to max_payload.
LARGEST_ANSWER = 16 << 20


class _Waiting(NamedTuple):
    """A request in flight."""

    future: asyncio.Future[Any]
    read: Callable[[bytes, bytes], Any]
    subjects: Sequence[str]


class Requests:
    """Requests over `wire`. `generation` grows with every new connection, which may lead to another store."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.generation = 0
        self.opened = False
        self.closed = ""
        self.last_error = ""
        self._connected = asyncio.Event()
        self._connected.set()
        self._inbox = ""
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, _Waiting] = {}

    async def open(self) -> None:
        self._inbox = self.wire.new_inbox()  # with the prefix that the connection was given
        await self.listen(f"{self._inbox}.re.*", self._answered)
        self.opened = True

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2.0):
                await self.wire.close()

    # --- the connection: callbacks that connect.py registers ---------------------------------------

    @property
    def connected(self) -> bool:
        return self._connected.is_set() and not self.closed

    async def disconnected(self) -> None:
        """Fail the requests in flight: they may have been carried out or not, which their senders check."""
        self._connected.clear()
        waiting, self._waiting = self._waiting, {}
        for waited in waiting.values():
            settle(waited.future, Unavailable("the connection to NATS was lost"))

    def not_permitted(self, act: str, subject: str) -> str:
        """Fail the requests whose subject the server refuses; returns the subject as it was written.
        `subject`: in lower case, as nats-py names it."""
        if subject.startswith(self._inbox.lower()):
            reason = f"this identity may not hear answers at {self._inbox}: use its file as it was written"
            self.closed_because(reason)
            for waited in list(self._waiting.values()):
                settle(waited.future, Closed(reason))
        for waited in list(self._waiting.values()):
            for asked in waited.subjects:
                if asked.lower() == subject:
                    settle(waited.future, NotPermitted(act, asked))
                    subject = asked
                    break
        return subject

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
        """One request of the JetStream API; returns the answer. Raises BusError."""
        payload = msgspec.json.encode(body) if body is not None else b""
        reply, future = self.expect(answer_body, f"$JS.API.{verb}")
        request = raw_message(f"$JS.API.{verb}", payload, reply, API_HEADERS)
        if verb.startswith(REPEATABLE):
            self._repeat(request, future)
        else:
            self.send(request, future)
        what = verb.partition(".")[0] + " " + verb.split(".")[1] if "." in verb else verb
        try:
            async with asyncio.timeout(timeout):
                decoded: dict[str, Any] = await future
        except (TimeoutError, Unavailable) as error:
            if self.closed:
                raise Closed(self.closed) from None
            raise Unavailable(f"NATS does not answer ({what}): {str(error) or 'time is up'}") from None
        if isinstance(decoded.get("error"), dict):
            raise error_of(decoded["error"])
        return decoded

    def _repeat(self, request: bytes, answer: asyncio.Future[Any]) -> None:
        """Send the request every REPEAT seconds until it is answered or cancelled."""
        if not answer.done():
            self.send(request, answer)
            asyncio.get_running_loop().call_later(REPEAT, self._repeat, request, answer)

    async def listen(self, subject: str, sink: Sink) -> bytes:
        try:
            return await self.wire.listen(subject, sink)
        except NatsError as error:
            raise Closed(self.closed) if self.closed else Unavailable(str(error)) from None

    def inbox(self) -> str:
        return f"{self._inbox}.{next(self._numbers)}"

    def number(self) -> int:
        """A number that is unique in this process."""
        return next(self._numbers)

    def expect(self, read: Callable[[bytes, bytes], T], *subjects: str) -> tuple[str, asyncio.Future[T]]:
        """A reply subject, and the future of `read(headers, body)` of the answer that comes to it.
        `subjects`: that are published for it."""
        token = b"%d" % next(self._numbers)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[token] = _Waiting(future, read, subjects)
        future.add_done_callback(lambda _: self._waiting.pop(token, None))
        return f"{self._inbox}.re.{token.decode()}", future

    def send(self, frames: bytes, *answers: asyncio.Future[T]) -> None:
        """Write frames. If that fails, all their `answers` fail with Unavailable."""
        try:
            if not self._connected.is_set():  # nats-py may be connected before its callback has run
                raise Unavailable("not connected to NATS")
            self.wire.send(frames)
        except Unavailable as error:
            for answer in answers:
                settle(answer, error)

    def _answered(self, subject: bytes, _reply: bytes, headers: bytes, body: bytes) -> None:
        waited = self._waiting.pop(subject.rpartition(b".")[2], None)
        if waited is None:
            return
        try:
            settle(waited.future, waited.read(headers, body))
        except BusError as error:
            settle(waited.future, error)
        except Exception as error:  # noqa: BLE001  bytes from outside may raise anything: no answer
            settle(waited.future, Unavailable(f"an answer that cannot be read: {error}"))


async def until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again while Unavailable: servers that have just started, or a stream that was just changed on a
    cluster, need some seconds to elect a leader. Raises what `ask` raises."""
    until = tasks.monotonic() + LEADER_WITHIN
    while True:
        try:
            return await ask()
        except Unavailable:
            if tasks.monotonic() > until:
                raise
            await asyncio.sleep(0.25)


def _check_served(headers: bytes) -> None:
    """Raises Unavailable for status 503."""
    if headers[8:12] == b" 503":
        raise Unavailable(
            "nobody serves this subject: no JetStream, no stream, no leader, or not for this identity"
        )


def answer_body(headers: bytes, body: bytes) -> dict[str, Any]:
    """The JSON object of an answer. Raises Unavailable if nobody serves the request, ValueError if the answer
    cannot be read."""
    _check_served(headers)
    if len(body) > LARGEST_ANSWER:
        raise ValueError(f"{len(body):,} bytes")
    return msgspec.json.decode(body, type=dict[str, Any])


class _Ack(msgspec.Struct):
    """A publish acknowledgement (nats-server, PubAck)."""

    stream: str = ""
    seq: int = 0
    error: dict[str, Any] | None = None


def acknowledged(stream: str, headers: bytes, body: bytes) -> int:
    """The sequence in the acknowledgement of a message for `stream`. Raises BusError."""
    _check_served(headers)
    ack = msgspec.json.decode(body, type=_Ack)
    if ack.error is not None:
        raise error_of(ack.error)
    if ack.stream != stream:
        raise Refused(f"stream {ack.stream!r} stored a message for {stream}: their subjects overlap")
    return ack.seq


def settle(future: asyncio.Future[T], outcome: T | BusError) -> None:
    """Set the result or the exception of a future, unless it is done."""
    if future.done():
        return
    if isinstance(outcome, BusError):
        future.set_exception(outcome)
        future.exception()  # marks it as retrieved: the caller may have given up
    else:
        future.set_result(outcome)


def error_of(error: dict[str, Any]) -> BusError:
    """The exception for an error object of the JetStream API."""
    code, text = error.get("err_code", 0), str(error.get("description", "unknown error"))
    if advice := SETTINGS.get(code):
        text = f"{text}: {advice}"
    if kind := ERRORS.get(code):
        return kind(text)
    if error.get("code", 0) in (429, 500, 503):
        unavailable = Unavailable(text)
        unavailable.code = code
        return unavailable
    return Refused(f"{text} (error {code})", code)
