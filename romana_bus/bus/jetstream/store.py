"""The store on NATS JetStream: prepares its streams, writes fenced batches, and opens cursors and leases.

Batches and reads do not use nats-py's own (see `fastlane.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import uuid
from typing import TYPE_CHECKING, Any

from romana_bus.bus import stream_config
from romana_bus.bus.api import (
    BusError,
    DuplicateId,
    Election,
    Outgoing,
    Position,
    Refused,
    StreamMissing,
    Unavailable,
)
from romana_bus.bus.jetstream import upgrade
from romana_bus.bus.jetstream.compaction import Compaction
from romana_bus.bus.jetstream.direct import DirectTable
from romana_bus.bus.jetstream.lease import JetStreamLease
from romana_bus.bus.jetstream.live import Live
from romana_bus.bus.jetstream.messages import Streams
from romana_bus.bus.jetstream.probe import Probe, ask_all
from romana_bus.bus.jetstream.pull import Pull, TableRead
from romana_bus.bus.jetstream.requests import acknowledged
from romana_bus.bus.parts import followed_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from romana_bus.bus.api import Unneeded
    from romana_bus.bus.jetstream.fastlane import Wire
    from romana_bus.bus.jetstream.refusals import Refusals
    from romana_bus.bus.stream_config import Config, Layout

#: Server error code: another stream has this name; on a cluster it may not exist on this server yet.
IN_USE = 10058
#: Server error codes: the server, the account, or no server of the cluster has that much storage.
NO_ROOM = (10047, 10002, 10005)
#: Up to so many messages are sent one by one, each with its own fence: the server stages a batch in files,
#: which takes 4 ms, while a single message takes 0.3 ms.
SINGLY = 8
#: Seconds within which an agent has to have heard a leader's heartbeat: one may be late.
BEATS = 2.5
#: Batches of one writer that may be in flight.
IN_FLIGHT = 4


class JetStream(Streams):
    """See `api.Store`. `creates`: whether `prepare` creates missing streams. `live`: read tables without
    consumers, and follow streams by their republished messages, where they have them."""

    def __init__(self, wire: Wire, layout: Layout, creates: bool = True, live: bool = False) -> None:
        super().__init__(wire, layout, creates)
        self.live = live
        self.cluster = layout.cluster
        self.roles: tuple[str, ...] = ()  # those that were prepared
        self.probe: Probe | None = None
        self._republished: set[str] = set()  # roles
        self.refusals: Refusals | None = None

    def probed(self, elsewhere: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        """Start to probe whether the log answers. `elsewhere`: see Probe."""
        self.probe = Probe(self, elsewhere)

    async def close(self) -> None:
        if self.probe is not None:
            await self.probe.close()
        if self.refusals is not None:
            await self.refusals.close()
        await super().close()

    def problem(self) -> str:
        return self.probe.problem() if self.probe else ""

    @property
    def age(self) -> float:
        """Seconds since the log answered last."""
        return self.probe.age if self.probe else 0.0

    async def ask_tails(self) -> None:
        """Ask for the ends of the streams. A node's agent asks for one only, and not while a leader says that
        the log answers, since there are thousands of agents. Raises BusError."""
        if self.live and self.heard_within(BEATS):
            return
        if not self.roles:
            await self.api("INFO")
        await ask_all([self.tail(role) for role in (self.roles if self.creates else self.roles[:1])])

    # --- streams --------------------------------------------------------------------------------------

    async def prepare(self, roles: Sequence[str]) -> None:
        epoch = uuid.uuid4().hex
        for role in roles:
            log_stream = await self._ensure(stream_config.log_config(self.layout, role, epoch))
            actual_epoch = log_stream["metadata"]["romana_epoch"]
            table = await self._ensure(stream_config.table_config(self.layout, role, actual_epoch))
            if table["metadata"]["romana_epoch"] != actual_epoch:
                raise Refused(
                    f"stream {table['name']} is the table of another log than {log_stream['name']}, which "
                    f"was deleted and created again: restore both, or remove both with `nats stream rm`"
                )
            if log_stream.get("republish") and table.get("allow_direct"):
                self._republished.add(role)
                if self.live and _is_led(role):
                    await self.hear_beats(role)
            self.history = log_stream["max_age"] / stream_config.NANOSECONDS
        await self._ensure(stream_config.lease_config(self.layout, 2.0))
        self.roles = tuple(dict.fromkeys((*self.roles, *roles)))

    async def _ensure(self, wanted: Config) -> Config:
        """Create the stream if it is missing, and check it; returns its configuration. Raises BusError."""
        try:
            echoed = (await self.info(wanted["name"])).config
        except StreamMissing:
            if not self.creates:
                raise
            try:
                echoed = self.read_info(await self.api(f"STREAM.CREATE.{wanted['name']}", wanted)).config
            except BusError as error:  # perhaps another process was faster, with another epoch
                if error.code in NO_ROOM:
                    raise Refused(upgrade.no_room(wanted, error)) from None
                if not isinstance(error, Refused):
                    raise
                with contextlib.suppress(StreamMissing):
                    return await self._ensure_existing(wanted)
                if error.code == IN_USE:
                    raise Unavailable(f"another process is creating {wanted['name']}") from None
                raise error from None
        return await self._checked(wanted, echoed)

    async def _ensure_existing(self, wanted: Config) -> Config:
        return await self._checked(wanted, (await self.info(wanted["name"])).config)

    async def _checked(self, wanted: Config, echoed: Config) -> Config:
        if reasons := stream_config.unsafe(wanted, echoed):
            raise Refused("; ".join(reasons))
        if older := stream_config.outdated(wanted, echoed):
            return await upgrade.at_start(self, wanted["name"], echoed, older)
        return echoed

    # --- batches --------------------------------------------------------------------------------------

    @property
    def window(self) -> int:
        """How many batches may be in flight. A cluster accepts one write at a time under one election (error
        10164 for the second); with one in flight, the sequence alone is the fence."""
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
        subjects = [self.layout.prefix + message.subject for message in messages]
        reply, future = self.expect(functools.partial(acknowledged, stream), *subjects)
        batch_id = f"{self.instance}-{self.number()}".encode()
        size, frames = len(messages), []
        for number, message in enumerate(messages, 1):
            extra = b"Nats-Batch-Id: %s\r\nNats-Batch-Sequence: %d\r\n" % (batch_id, number)
            if number == 1:
                extra += b"Nats-Expected-Last-Sequence: %d\r\n%s" % (expected, fence)
            if number == size:
                extra += b"Nats-Batch-Commit: 1\r\n"
            frames.append(self.frame(message, reply if number == size else "", extra))
        self.send(b"".join(frames), future)
        return future

    def _singly(
        self, stream: str, expected: int, messages: Sequence[Outgoing], fence: bytes
    ) -> Awaitable[int]:
        """Send each message with its own fence. If one is not stored, those behind it are not either, unless
        somebody else's message took its sequence: then the next one fits again."""
        answers, frames = [], []
        for seq, message in enumerate(messages, expected + 1):
            subject = self.layout.prefix + message.subject
            reply, future = self.expect(functools.partial(_stored_as, stream, seq), subject)
            extra = b"Nats-Expected-Last-Sequence: %d\r\n%s" % (seq - 1, fence)
            frames.append(self.frame(message, reply, extra))
            answers.append(future)
        self.send(b"".join(frames), *answers)
        return _last_of(answers)

    # --- cursors and leases -----------------------------------------------------------------------------

    def table(self, role: str, under: str = ">") -> TableRead | DirectTable:
        if self.live and role in self._republished and _is_led(role):
            return DirectTable(self, role, under)
        return TableRead(self, role, under)

    def follow(self, role: str, under: str, after: Position, wake: asyncio.Event, name: str) -> Pull | Live:
        if self.live and role in self._republished and followed_by(role, under) is not None:
            live = Live(self, role, under, name, after, wake)
            live.start()
            return live
        pull = Pull(self, self.layout.stream(role), self.subject(role, under), name, after, wake)
        pull.start()
        return pull

    async def compact(self, role: str, unneeded: Unneeded | None = None) -> None:
        await Compaction(self, role, unneeded).run()

    def lease(self, name: str, holder: str, ttl: float = 2.0) -> JetStreamLease:
        return JetStreamLease(self, name, holder, ttl)


def _is_led(role: str) -> bool:
    """Whether one leader alone writes the stream: what many write is not believed without a consumer."""
    return followed_by(role, ">") is not None


def _stored_as(stream: str, expected: int, headers: bytes, body: bytes) -> int:
    """The sequence in an acknowledgement. Raises DuplicateId if it is another one: the answer to a known id
    is the sequence that it already has."""
    seq = acknowledged(stream, headers, body)
    if seq != expected:
        raise DuplicateId(f"already stored, as {seq}")
    return seq


async def _last_of(answers: list[asyncio.Future[int]]) -> int:
    """The last sequence. Raises what the first failed one raised: a cluster may answer later ones earlier."""
    results = await asyncio.gather(*answers, return_exceptions=True)
    if failure := next((result for result in results if isinstance(result, BaseException)), None):
        raise failure
    return answers[-1].result()
