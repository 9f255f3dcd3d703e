"""The streams of one cluster: their ends, and single messages read and written.

Requests do not use nats-py's own (see `requests.py`). Writes are not retried here: whether a message was
stored although its answer was lost is found out by `write.py`, which reads back.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import math
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus import tasks
from romana_bus.bus.api import (
    PASS_WITHIN,
    Message,
    Outgoing,
    Position,
    Refused,
    Rewound,
    Tail,
    Unavailable,
    WrongSequence,
    micros,
    stamp,
)
from romana_bus.bus.clock import LogClock
from romana_bus.bus.jetstream.fastlane import Wire, raw_message
from romana_bus.bus.jetstream.info import StoredMessage, StreamInfo
from romana_bus.bus.jetstream.requests import ANSWER_WITHIN, REPEAT, Requests, acknowledged
from romana_bus.bus.parts import ALIVE, Heartbeat
from romana_bus.bus.space.place import Place
from romana_bus.events.base import SECOND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from romana_bus.bus.stream_config import Layout

#: Server error code: no such message.
NOT_FOUND = 10037
#: Bytes of a subject that fit into a control line beside a reply (nats-server, max_control_line: 4096).
LONGEST_SUBJECT = 3000


class Streams(Requests):
    """See `api.Store`. `creates`: whether this process may create streams. `instance`: marks it in the names
    of consumers and batches."""

    def __init__(self, wire: Wire, layout: Layout, creates: bool = True) -> None:
        super().__init__(wire)
        self.creates = creates
        self.updates = False  # whether `prepare` brings streams of an older version up to date
        self.place = Place()
        self.layout = layout
        self.history = layout.history
        self.prefix_size = len(layout.prefix)
        self.instance = uuid.uuid4().hex[:8]
        self.deletes = True  # whether it may delete its consumers; else they expire
        self.clock = LogClock()
        self._ends: dict[str, int] = {}  # stream -> last sequence, as of the last answer
        self._limits: dict[str, int] = {}  # stream -> max_bytes, as of the last answer
        self.beats: dict[str, Heartbeat] = {}  # role -> the last one
        self._beat_at = -math.inf
        self._hearing: set[str] = set()  # roles of which heartbeats are noted

    def end(self, role: str) -> int:
        return self._ends.get(self.layout.stream(role), 0)

    def limit(self, role: str) -> int:
        return self._limits.get(self.layout.stream(role), -1)

    async def table_end(self, role: str) -> int:
        return (await self.stream_tail(self.layout.table(role))).last

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
        info = await self._led_info(stream)
        self._ends[stream] = info.state.last_seq
        self._limits[stream] = info.config.get("max_bytes", -1)
        return Tail(info.epoch, info.state.first_seq, info.state.last_seq)

    async def reached(self, role: str, read: Position, since: int) -> Position:
        """From where to follow the log after a pass over its table: the last message read, or the log's
        beginning if that is later. The table's last sequence would be wrong on a cluster: the replica that
        was read may be a moment behind the one that was asked for it. `since`: when the pass began, by the
        log's time (µs). Raises Rewound, and Unavailable if the pass took too long."""
        tail = await self.tail(role)
        if tail.epoch != read.epoch:
            raise Rewound(f"{self.layout.table(role)} is not the table of its log")
        if (took := (self.clock.now() - since) // SECOND) > PASS_WITHIN:
            raise Unavailable(f"reading the table of {role} took {took:,} s: it is read again")
        return max(read, Position(tail.epoch, tail.first - 1, ""), key=lambda position: position.seq)

    async def _led_info(self, stream: str) -> StreamInfo:
        """Ask again for a while if the answer does not count, as if none had come: when a stream gets more or
        fewer copies, its leader loses the others for a moment. Raises Unavailable."""
        until = tasks.monotonic() + ANSWER_WITHIN
        while (info := await self.info(stream)).cluster and (why := info.cluster.lost):
            if tasks.monotonic() > until:
                raise Unavailable(f"{stream} cannot be asked here: {why}")
            await asyncio.sleep(REPEAT)
        return info

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

    # --- what is not stored ---------------------------------------------------------------------------

    async def hear_beats(self, role: str) -> None:
        """Note the heartbeats of the stream's leader from now on. Raises Unavailable."""
        if role not in self._hearing:
            self._hearing.add(role)
            await self.listen(f"{self.layout.prefix}{ALIVE}.{role.lower()}", self._beat)

    def _beat(self, subject: bytes, _reply: bytes, _headers: bytes, body: bytes) -> None:
        beat = msgspec.json.decode(body, type=Heartbeat)
        role = subject.rpartition(b".")[2].decode().upper()
        self.beats[role], self._beat_at = beat, tasks.monotonic()
        self._ends[self.layout.stream(role)] = beat.newest
        self.clock.heard(beat.now)

    def heard_within(self, seconds: float) -> bool:
        """Whether a leader's heartbeat came within the last seconds."""
        return tasks.monotonic() - self._beat_at < seconds

    def say(self, subject: str, body: bytes) -> None:
        with contextlib.suppress(Unavailable):
            self.wire.send(raw_message(self.layout.prefix + subject, body))

    async def hear(self, subject: str, sink: Callable[[str, bytes], None]) -> Callable[[], Awaitable[None]]:
        def heard(full: bytes, _reply: bytes, _headers: bytes, body: bytes) -> None:
            sink(full[self.prefix_size :].decode(errors="replace"), body)

        sid = await self.listen(self.layout.prefix + subject, heard)
        return functools.partial(self.wire.unlisten, sid)

    # --- single messages ------------------------------------------------------------------------------

    async def get(self, role: str, seq: int) -> Message | None:
        return await self.get_of(self.layout.stream(role), seq) if seq > 0 else None

    async def get_of(self, stream: str, seq: int) -> Message | None:
        return await self._get(stream, {"seq": seq})

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
        stream = self.layout.stream(role)
        if expected and await self._has_left(role, message.subject, expected):
            expected = 0
        try:
            return await self.put(stream, message, expected)
        except WrongSequence:
            # The log may have dropped that message meanwhile.
            if not expected or not await self._has_left(role, message.subject, expected):
                raise
        return await self.put(stream, message, 0)

    async def _has_left(self, role: str, subject: str, seq: int) -> bool:
        """Whether the newest message of a subject is only in the table: the log, which compares, no longer
        has it. Raises WrongSequence if it is not the one at `seq`, Unavailable if the table does not say."""
        first = (await self.tail(role)).first
        if seq >= first:
            return False
        newest = await self.newest(role, subject)
        if newest is not None and newest.seq != seq:
            raise WrongSequence(f"wrong last sequence: {newest.seq}")
        if await self.table_end(role) < first - 1:
            raise Unavailable(f"the table of {role} has not read all that the log has dropped")
        return True

    async def put(
        self, stream: str, message: Outgoing, expected: int | None = None, within: float = ANSWER_WITHIN
    ) -> int:
        """Publish one message to the stream that takes its subject; returns its sequence. `expected`: a
        sequence of that stream. `within`: seconds."""
        extra = b"" if expected is None else b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % expected
        reply, future = self.expect(
            functools.partial(acknowledged, stream), self.layout.prefix + message.subject
        )
        self.send(self.frame(message, reply, extra), future)
        try:
            async with asyncio.timeout(within):
                return await future
        except TimeoutError:
            raise Unavailable(f"no acknowledgement within {within:.0f} s") from None

    def frame(self, message: Outgoing, reply: str, extra: bytes) -> bytes:
        """The bytes that publish one message. Raises Refused if the server would close the connection for
        it."""
        headers = _headers(message, extra, int(self.history))
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


def _headers(message: Outgoing, extra: bytes, history: int) -> bytes:
    """The header block. `extra`: more header lines, each with its line end. `history`: seconds, the least
    after which the server itself may delete a tombstone, from a table of an older version."""
    lines = f"Romana-Time: {_stamp(message.time)}\r\n"
    if message.id:
        lines = f"Nats-Msg-Id: {message.id}\r\n{lines}"
    if message.cause:
        lines += f"Romana-Cause: {message.cause}\r\n"
    if message.follows >= 0:
        lines += f"Romana-Follows: {message.follows}\r\n"
    if message.ttl:
        lines += f"Romana-TTL: {message.ttl}\r\nNats-TTL: {max(message.ttl, history, 1)}s\r\n"
    return b"NATS/1.0\r\n%s%s\r\n" % (extra, lines.encode())


#: Cached, since the messages of a batch share one time or a few.
_stamp = functools.lru_cache(maxsize=64)(stamp)
