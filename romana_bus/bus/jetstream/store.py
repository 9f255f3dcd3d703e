"""The store on NATS JetStream: streams, tables, fenced batches, single publishes, leases.

Requests go past nats-py (`requests.py`), and so do batches and what is read (`wire.py`). Nothing here retries
a write by itself: whether a lost answer was a lost message is decided by `write.py`, which reads back.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.bus import streams
from romana_bus.bus.api import (
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
    micros,
    stamp,
)
from romana_bus.bus.clock import LogClock
from romana_bus.bus.jetstream.fastlane import Wire, raw_message
from romana_bus.bus.jetstream.info import StoredMessage, StreamInfo
from romana_bus.bus.jetstream.lease import JetStreamLease
from romana_bus.bus.jetstream.probe import Probe, ask_all
from romana_bus.bus.jetstream.pull import Pull, TableRead
from romana_bus.bus.jetstream.requests import ANSWER_WITHIN, Requests, acknowledged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from romana_bus.bus.streams import Config, Layout

#: Server error codes: no such message; the name is another stream's, which on a cluster may not be there yet.
NOT_FOUND, IN_USE = 10037, 10058
#: Up to so many messages go out one by one, each under its fence: the server stages a batch in files of
#: its own, which takes 4 ms, while each of a few single messages takes 0.3 ms.
SINGLY = 8
#: Batches of one writer that may be on their way.
IN_FLIGHT = 4
#: Bytes of a subject that fits into a control line beside a reply (nats-server, max_control_line: 4096).
LONGEST_SUBJECT = 3000


class JetStream(Requests):
    """See `api.Store`. `instance` tells this process from others in names of consumers and batches.
    `creates`: whether it makes streams that are missing."""

    def __init__(self, wire: Wire, layout: Layout, creates: bool = True) -> None:
        super().__init__(wire)
        self.layout, self.creates = layout, creates
        self.cluster, self.history = layout.cluster, layout.history
        self.prefix_size = len(layout.prefix)
        self.instance = uuid.uuid4().hex[:8]
        self.clock = LogClock()
        self.roles: tuple[str, ...] = ()  # those that were prepared
        self.probe: Probe | None = None
        self._ends: dict[str, int] = {}  # by stream, as they were heard of last

    def probed(self, elsewhere: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        """From now on it is known whether the log answers. `elsewhere`: see Probe."""
        self.probe = Probe(self, elsewhere)

    async def close(self) -> None:
        if self.probe is not None:
            await self.probe.close()
        await super().close()

    def problem(self) -> str:
        return self.probe.problem() if self.probe else ""

    @property
    def age(self) -> float:
        """Seconds since the log has last answered."""
        return self.probe.age if self.probe else 0.0

    def end(self, role: str) -> int:
        return self._ends.get(self.layout.stream(role), 0)

    async def ask_tails(self) -> None:
        """Of a node's agent, of which there are thousands, just of what it reads. Raises BusError."""
        if not self.roles:
            await self.api("INFO")
        await ask_all([self.tail(role) for role in (self.roles if self.creates else self.roles[:1])])

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
        self.roles = tuple(dict.fromkeys((*self.roles, *roles)))

    async def _ensure(self, wanted: Config) -> Config:
        """Create the stream if it is missing; what then is there has to be safe."""
        try:
            echoed = (await self._info(wanted["name"])).config
        except StreamMissing:
            if not self.creates:
                raise
            try:
                echoed = self._read_info(await self.api(f"STREAM.CREATE.{wanted['name']}", wanted)).config
            except Refused as error:  # another process was faster, with another epoch
                with contextlib.suppress(StreamMissing):
                    return await self._ensure_existing(wanted)
                if error.code == IN_USE:
                    raise Unavailable(f"{wanted['name']} is being made by somebody else") from None
                raise error from None
        return self._checked(wanted, echoed)

    async def _ensure_existing(self, wanted: Config) -> Config:
        return self._checked(wanted, (await self._info(wanted["name"])).config)

    def _checked(self, wanted: Config, echoed: Config) -> Config:
        if found := streams.unsafe(wanted, echoed):
            raise Refused("; ".join(found))
        return echoed

    async def tail(self, role: str) -> Tail:
        return await self.stream_tail(self.layout.stream(role))

    async def stream_tail(self, stream: str) -> Tail:
        info = await self._info(stream)
        if info.cluster and (why := info.cluster.lost):
            raise Unavailable(f"{stream} cannot be asked here: {why}")
        self._ends[stream] = info.state.last_seq
        return Tail(info.epoch, info.state.first_seq, info.state.last_seq)

    async def _info(self, stream: str) -> StreamInfo:
        return self._read_info(await self.api(f"STREAM.INFO.{stream}"))

    def _read_info(self, answer: dict[str, Any]) -> StreamInfo:
        """Raises Unavailable where it is none."""
        try:
            info = msgspec.convert(answer, StreamInfo)
            self.clock.asked(micros(info.ts))
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            raise Unavailable(f"NATS gives a stream that cannot be read: {error}") from None
        return info

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
            answer = await self.api(f"STREAM.MSG.GET.{stream}", which)
        except Refused as error:
            if error.code == NOT_FOUND:
                return None
            raise
        try:
            found = msgspec.convert(answer.get("message"), StoredMessage)
            return Message(
                seq=found.seq,
                subject=found.subject[self.prefix_size :],
                body=base64.b64decode(found.data),
                headers=base64.b64decode(found.hdrs),
                stored=micros(found.time),
            )
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            raise Unavailable(f"NATS gives a message that cannot be read: {error}") from None

    async def publish(self, role: str, message: Outgoing, expected: int | None = None) -> int:
        if expected and expected < (await self.tail(role)).first:
            expected = 0  # in the table only: the log, which is asked to compare, has forgotten it
        return await self.put(self.layout.stream(role), message, expected)

    async def put(
        self, stream: str, message: Outgoing, expected: int | None = None, within: float = ANSWER_WITHIN
    ) -> int:
        """One message to the stream that takes its subject; `expected` as that stream counts."""
        extra = b"" if expected is None else b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % expected
        reply, future = self.expect(functools.partial(acknowledged, stream))
        self.send(self._frame(message, reply, extra), future)
        try:
            async with asyncio.timeout(within):
                return await future
        except TimeoutError:
            raise Unavailable(f"no acknowledgement within {within:.0f} s") from None

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
        stream = self.layout.stream(role)
        fence = b"Nats-Expected-Stream: %s\r\n" % stream.encode()
        if election and not self._clustered:
            subject = (self.layout.prefix + election.subject).encode()
            fence += b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % election.seq
            fence += b"Nats-Expected-Last-Subject-Sequence-Subject: %s\r\n" % subject
        if len(messages) <= (SINGLY if election and not self._clustered else 1):
            return self._singly(stream, expected, messages, fence)
        reply, future = self.expect(functools.partial(acknowledged, stream))
        batch_id = f"{self.instance}-{self.number()}".encode()
        size, frames = len(messages), []
        for number, message in enumerate(messages, 1):
            extra = b"Nats-Batch-Id: %s\r\nNats-Batch-Sequence: %d\r\n" % (batch_id, number)
            if number == 1:
                extra += b"Nats-Expected-Last-Sequence: %d\r\n%s" % (expected, fence)
            if number == size:
                extra += b"Nats-Batch-Commit: 1\r\n"
            frames.append(self._frame(message, reply if number == size else "", extra))
        self.send(b"".join(frames), future)
        return future

    def _singly(
        self, stream: str, expected: int, messages: Sequence[Outgoing], fence: bytes
    ) -> Awaitable[int]:
        """Each under its own fence. Where one is not stored, those behind it are not either, unless somebody
        else's message stands where it should have been: then the next one fits again."""
        answers, frames = [], []
        for place, message in enumerate(messages, expected + 1):
            reply, future = self.expect(functools.partial(_placed, stream, place))
            extra = b"Nats-Expected-Last-Sequence: %d\r\n%s" % (place - 1, fence)
            frames.append(self._frame(message, reply, extra))
            answers.append(future)
        self.send(b"".join(frames), *answers)
        return _last_of(answers)

    def _frame(self, message: Outgoing, reply: str, extra: bytes) -> bytes:
        """One message on the wire. Raises Refused where the server would cut the connection for it."""
        headers = _headers(message, extra)
        if len(headers) + len(message.body) > self.wire.max_payload:
            raise Refused(
                f"{message.subject}: {len(message.body)} bytes are more than the server's max_payload of "
                f"{self.wire.max_payload}"
            )
        if len(message.subject) > LONGEST_SUBJECT:
            raise Refused(f"{message.subject[:80]}...: a subject of {len(message.subject)} characters")
        return raw_message(self.layout.prefix + message.subject, message.body, reply, headers)

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


def _placed(stream: str, place: int, headers: bytes, body: bytes) -> int:
    """Of one that was to become number `place`: a known id is answered with where it stands already."""
    seq = acknowledged(stream, headers, body)
    if seq != place:
        raise DuplicateId(f"stored already, as {seq}")
    return seq


async def _last_of(answers: list[asyncio.Future[int]]) -> int:
    """Or what befell the first one that failed; a cluster tells of those behind it earlier."""
    found = await asyncio.gather(*answers, return_exceptions=True)
    if failure := next((one for one in found if isinstance(one, BaseException)), None):
        raise failure
    return answers[-1].result()
