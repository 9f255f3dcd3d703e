"""The streams of one cluster: their ends, and single messages read and written.

Requests do not use nats-py's own (see `requests.py`). Writes are not retried here: whether a message was
stored although its answer was lost is found out by `write.py`, which reads back.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.bus.api import (
    Message,
    Outgoing,
    Position,
    Refused,
    Rewound,
    Tail,
    Unavailable,
    micros,
    stamp,
)
from romana_bus.bus.clock import LogClock
from romana_bus.bus.jetstream.fastlane import Wire, raw_message
from romana_bus.bus.jetstream.info import StoredMessage, StreamInfo
from romana_bus.bus.jetstream.requests import ANSWER_WITHIN, Requests, acknowledged

if TYPE_CHECKING:
    from romana_bus.bus.stream_config import Layout

#: Server error code: no such message.
NOT_FOUND = 10037
#: Bytes of a subject that fit into a control line beside a reply (nats-server, max_control_line: 4096).
LONGEST_SUBJECT = 3000


class Streams(Requests):
    """See `api.Store`. `instance`: marks this process in the names of consumers and batches."""

    def __init__(self, wire: Wire, layout: Layout) -> None:
        super().__init__(wire)
        self.layout = layout
        self.prefix_size = len(layout.prefix)
        self.instance = uuid.uuid4().hex[:8]
        self.clock = LogClock()
        self._ends: dict[str, int] = {}  # stream -> last sequence, as of the last answer

    def end(self, role: str) -> int:
        return self._ends.get(self.layout.stream(role), 0)

    def subject(self, role: str, under: str) -> str:
        """The full subject, or filter, with the cluster's prefix; '>' means the role's whole stream."""
        return self.layout.prefix + (f"{role.lower()}.>" if under == ">" else under)

    def ask(
        self, stream: str, consumer: str, reply: str, count: int, expires: float, heartbeat: float
    ) -> None:
        """Request `count` messages of a pull consumer; they come to `reply`. Times in seconds."""
        request = b'{"batch":%d,"expires":%d,"idle_heartbeat":%d}' % (
            count, int(expires * 1e9), int(heartbeat * 1e9)
        )  # fmt: skip
        self.wire.send(raw_message(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", request, reply))

    # --- ends of streams --------------------------------------------------------------------------------

    async def tail(self, role: str) -> Tail:
        return await self.stream_tail(self.layout.stream(role))

    async def stream_tail(self, stream: str) -> Tail:
        info = await self.info(stream)
        if info.cluster and (why := info.cluster.lost):
            raise Unavailable(f"{stream} cannot be asked here: {why}")
        self._ends[stream] = info.state.last_seq
        return Tail(info.epoch, info.state.first_seq, info.state.last_seq)

    async def info(self, stream: str) -> StreamInfo:
        return self.read_info(await self.api(f"STREAM.INFO.{stream}"))

    def read_info(self, answer: dict[str, Any]) -> StreamInfo:
        """The StreamInfo in an answer. Raises Unavailable if it cannot be read."""
        try:
            info = msgspec.convert(answer, StreamInfo)
            self.clock.asked(micros(info.ts))
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            raise Unavailable(f"NATS returned stream information that cannot be read: {error}") from None
        return info

    async def check(self, stream: str, position: Position) -> None:
        """Raises Rewound unless the stream still holds what was read up to `position`."""
        tail = await self.stream_tail(stream)
        if tail.epoch != position.epoch:
            raise Rewound(f"{stream} was created anew: epoch {tail.epoch or '(none)'}, not {position.epoch}")
        if position.seq > tail.last:
            raise Rewound(f"{stream} was rewound: it ends at {tail.last}, but {position.seq} was read")
        if position.seq + 1 < tail.first and not stream.endswith("_LATEST"):
            raise Rewound(f"{stream} starts at {tail.first} now: messages after {position.seq} are gone")
        stored = await self._get(stream, {"seq": position.seq}) if position.id else None
        if stored is not None and stored.id != position.id:
            raise Rewound(f"{stream} holds {stored.id!r} at {position.seq}, not {position.id!r}")

    # --- single messages ------------------------------------------------------------------------------

    async def get(self, role: str, seq: int) -> Message | None:
        return await self._get(self.layout.stream(role), {"seq": seq}) if seq > 0 else None

    async def next(self, role: str, after: int, under: str = ">") -> Message | None:
        which = {"seq": after + 1, "next_by_subj": self.subject(role, under)}
        return await self._get(self.layout.stream(role), which)

    async def newest(self, role: str, subject: str) -> Message | None:
        # The log first: on a cluster that lost a server, the table can be a minute behind it.
        message = await self.newest_of(self.layout.stream(role), subject)
        return message or await self.newest_of(self.layout.table(role), subject)

    async def newest_of(self, stream: str, subject: str) -> Message | None:
        return await self._get(stream, {"last_by_subj": self.layout.prefix + subject})

    async def _get(self, stream: str, which: dict[str, Any]) -> Message | None:
        try:
            answer = await self.api(f"STREAM.MSG.GET.{stream}", which)
        except Refused as error:
            if error.code == NOT_FOUND:
                return None
            raise
        try:
            stored = msgspec.convert(answer.get("message"), StoredMessage)
            return Message(
                seq=stored.seq,
                subject=stored.subject[self.prefix_size :],
                body=base64.b64decode(stored.data),
                headers=base64.b64decode(stored.hdrs),
                stored=micros(stored.time),
            )
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            raise Unavailable(f"NATS returned a message that cannot be read: {error}") from None

    async def publish(self, role: str, message: Outgoing, expected: int | None = None) -> int:
        if expected and expected < (await self.tail(role)).first:
            expected = 0  # that message is only in the table: the log, which compares, no longer has it
        return await self.put(self.layout.stream(role), message, expected)

    async def put(
        self, stream: str, message: Outgoing, expected: int | None = None, within: float = ANSWER_WITHIN
    ) -> int:
        """Publish one message to the stream that takes its subject; returns its sequence. `expected`: a
        sequence of that stream. `within`: seconds."""
        extra = b"" if expected is None else b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % expected
        reply, future = self.expect(functools.partial(acknowledged, stream))
        self.send(self.frame(message, reply, extra), future)
        try:
            async with asyncio.timeout(within):
                return await future
        except TimeoutError:
            raise Unavailable(f"no acknowledgement within {within:.0f} s") from None

    def frame(self, message: Outgoing, reply: str, extra: bytes) -> bytes:
        """The bytes that publish one message. Raises Refused if the server would close the connection for
        it."""
        headers = _headers(message, extra)
        if len(headers) + len(message.body) > self.wire.max_payload:
            raise Refused(
                f"{message.subject}: {len(message.body)} bytes are more than the server's max_payload of "
                f"{self.wire.max_payload}"
            )
        if len(message.subject) > LONGEST_SUBJECT:
            raise Refused(
                f"{message.subject[:80]}...: a subject of {len(message.subject)} characters is too long"
            )
        return raw_message(self.layout.prefix + message.subject, message.body, reply, headers)


def _headers(message: Outgoing, extra: bytes) -> bytes:
    """The header block. `extra`: more header lines, each with its line end."""
    lines = f"Romana-Time: {_stamp(message.time)}\r\n"
    if message.id:
        lines = f"Nats-Msg-Id: {message.id}\r\n{lines}"
    if message.cause:
        lines += f"Romana-Cause: {message.cause}\r\n"
    if message.ttl:
        lines += f"Nats-TTL: {message.ttl}s\r\n"
    return b"NATS/1.0\r\n%s%s\r\n" % (extra, lines.encode())


#: Cached, since the messages of a batch share one time or a few.
_stamp = functools.lru_cache(maxsize=64)(stamp)
