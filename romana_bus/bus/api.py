"""The interface of the log: what a store of streams can do, and its errors.

A stream is named by its role (`events.KUBE`, ...). Its log holds every message of the history window;
its table holds the newest message of each subject, with the same sequence, for ever; a tombstone for its time
to live. `under` is a filter on subjects without the cluster's prefix: `*` matches one token, `>` the rest.

Both implementations, NATS JetStream and the in-memory twin, pass `tests/contract/`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from romana_bus.bus.clock import LogClock

    #: Of these subjects, those that nobody needs any more.
    Unneeded = Callable[[list[str]], Iterable[str]]

MSG_ID, CAUSE, TIME = b"Nats-Msg-Id", b"Romana-Cause", b"Romana-Time"
#: Seconds for which a tombstone stays in the table.
TTL = b"Romana-TTL"
#: Digits of a time to live that counts: as many seconds are three thousand years.
DIGITS = 11
#: How the names begin of cursors that read to the end of the log only. A reader may not delete his consumers,
#: so they stay at the server for half a minute.
ONCE = "once-"
#: Seconds by the log's time that a pass over a table may take: a tombstone stays for longer, so the pass has
#: read either it or none of the messages that it ended.
PASS_WITHIN = 600


class BusError(Exception):
    """A request to the log failed. `code`: the server's error code, 0 if there is none."""

    code = 0


class Unavailable(BusError):
    """No answer, or not now. The request may be repeated; it may also have been carried out already."""


class TooManyConsumers(Unavailable):
    """The stream has as many consumers as the server allows."""


class WrongSequence(BusError):
    """The fence: the stream does not end where this write expected. Nothing was stored."""


class DuplicateId(BusError):
    """The stream already has a message with one of these ids. Nothing was stored."""


class Refused(BusError):
    """The request is refused; repeating it does not help. `code` is 0 if the client refused it."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


class NotPermitted(Refused):
    """The server does not let this identity publish or hear a subject."""

    def __init__(self, act: str, subject: str) -> None:
        super().__init__(f"this identity may not {act} {subject[:200]}")
        self.act, self.subject = act, subject


class StreamMissing(BusError):
    """The stream does not exist, or no longer: the store was emptied."""


class Fenced(BusError):
    """Another process writes this stream now. What this one decided and has not stored is void."""


class ForeignWrite(Fenced):
    """A process that was not elected wrote on this stream, at `seq`, under `subject`. The state has to be
    rebuilt, with that message."""

    def __init__(self, role: str, seq: int, subject: str) -> None:
        super().__init__(f"somebody who was not elected wrote {role}/{seq}, {subject[:200]}")
        self.role, self.seq, self.foreign_subject = role, seq, subject


class Rewound(BusError):
    """The log is not the one that this process has read: it was emptied, replaced, or restored from a backup.
    State folded from it is void and has to be rebuilt from the table."""


class Closed(BusError):
    """The connection is closed for good, because credentials are refused or expired. The process has to
    end."""


class Message(msgspec.Struct, gc=False):
    """One stored message. `pending`: how many messages its reader had still to receive after it.
    `stored`: when the server stored it, by the server's clock (µs since the epoch)."""

    seq: int
    subject: str
    body: bytes
    headers: bytes = b""
    pending: int = 0
    stored: int = 0

    def header(self, name: bytes) -> str:
        """The first value of a header, or ''. Invalid UTF-8 in it is replaced."""
        start = self.headers.find(b"\r\n" + name + b":")
        if start < 0:
            return ""
        start += len(name) + 3
        return self.headers[start : self.headers.find(b"\r\n", start)].strip().decode(errors="replace")

    def seconds(self, name: bytes) -> int:
        """The whole seconds in a header, with or without the unit `s`; 0 if it has none, or absurdly many."""
        text = self.header(name).removesuffix("s")
        return int(text) if text.isdecimal() and len(text) <= DIGITS else 0

    @property
    def id(self) -> str:
        return self.header(MSG_ID)

    @property
    def cause(self) -> str:
        """`ROLE/sequence` of the event that led to this one, or ''."""
        return self.header(CAUSE)

    @property
    def time(self) -> int:
        """When it was written, by its writer's knowledge of the log's time: µs since the epoch; 0 if the
        message has no valid time."""
        text = self.header(TIME)
        try:
            return micros(text) if text else 0
        except (ValueError, OverflowError):
            return 0


class Outgoing(NamedTuple):
    """One message to be stored. `id`: '' lets a fenced writer number it. `time`: µs since the epoch. `ttl`:
    seconds after which it leaves the table (tombstones); 0: never. `follows`: the sequence of the message
    before it in its part of the stream, by `parts.Chain`; -1: unknown."""

    subject: str
    body: bytes
    id: str = ""
    cause: str = ""
    time: int = 0
    ttl: int = 0
    follows: int = -1


class Election(NamedTuple):
    """A condition: the newest message of `subject` is still number `seq`, so no later leader was elected."""

    subject: str
    seq: int


class Tail(NamedTuple):
    """The range of a stream. `epoch` is created with the stream, and unique. `first`: sequence of the oldest
    message that the log still has; `last`: of the newest that it ever had."""

    epoch: str
    first: int
    last: int


class Position(NamedTuple):
    """How far a reader has read. Valid only while epoch, range and message id agree with the stream."""

    epoch: str
    seq: int
    id: str


class Reading(Protocol):
    """A cursor that follows a stream. Messages come in order, each once, and none is missing."""

    position: Position

    @property
    def lag(self) -> int:
        """How many stored messages have not been taken yet, as far as this cursor knows."""

    def take(self) -> list[Message]:
        """The messages that arrived since the last call; never waits.
        Raises Rewound if the stream is no longer the one that was read, Closed if it cannot be read."""

    async def close(self) -> None:
        """Stop. May be called twice."""


class Lease(Protocol):
    """Decides which replica tries to lead. It protects nothing: the fence does."""

    async def acquire(self) -> bool:
        """Whether the caller holds it now. May be repeated. Raises Unavailable."""

    async def renew(self) -> bool:
        """False if somebody else holds it now. Raises Unavailable."""

    async def release(self) -> None:
        """Give it up, so that the successor need not wait until it expires. Best effort."""


class Store(Protocol):
    """All streams of one cluster."""

    cluster: str
    history: float  #: seconds that the log keeps
    generation: int  #: grows with every new connection, which may lead to another store
    clock: LogClock  #: the log's time, which all processes use

    @property
    def window(self) -> int:
        """How many batches of one writer may be in flight."""

    async def prepare(self, roles: Sequence[str]) -> None:
        """Create the streams that are missing, and check the others. May be repeated, and run concurrently.
        Raises Refused with the reason if the store is unsafe, StreamMissing if this process must not create
        streams."""

    async def tail(self, role: str) -> Tail:
        """Raises StreamMissing, Unavailable."""

    async def get(self, role: str, seq: int) -> Message | None:
        """The message at `seq`, read from the stream's leader, never stale. None: never written, or no longer
        kept."""

    async def next(self, role: str, after: int, under: str = ">") -> Message | None:
        """The first message behind sequence `after` that the filter selects and the log still has. Read from
        the stream's leader, never stale."""

    async def newest(self, role: str, subject: str) -> Message | None:
        """The newest message of a subject, or of all subjects that a filter selects, however old."""

    def batch(
        self, role: str, expected: int, messages: Sequence[Outgoing], election: Election | None = None
    ) -> Awaitable[int]:
        """Store at most 1,000 messages in order, directly behind sequence `expected`, and only while
        `election` holds; the result is the last sequence. If it fails, the first ones may be stored, but
        never one without those before it. Requests are sent at once, in the order of the calls.
        Raises WrongSequence, DuplicateId, Unavailable, Refused, StreamMissing."""

    async def publish(self, role: str, message: Outgoing, expected: int | None = None) -> int:
        """Store one message; returns its sequence. `expected`: only if the newest message of its subject
        still has that sequence (0: there is none). A message with a known id is not stored again; the answer
        is the same. Raises WrongSequence, Unavailable, Refused, StreamMissing."""

    def table(self, role: str, under: str = ">") -> Table:
        """The newest message of each subject that the filter selects, in the order of the log. Older ones of
        a subject may come before it: those that were not deleted yet."""

    def follow(self, role: str, under: str, after: Position, wake: asyncio.Event, name: str) -> Reading:
        """Follow the messages behind `after`. `wake` is set whenever there is something to take. `status`
        shows `name`."""

    def lease(self, name: str, holder: str, ttl: float = 2.0) -> Lease: ...

    def end(self, role: str) -> int:
        """The newest sequence of the stream that this process knows of, without a request."""

    def limit(self, role: str) -> int:
        """The bytes that the log may have before it drops its oldest messages, as far as this process knows;
        0 or less: any."""

    async def table_end(self, role: str) -> int:
        """The sequence up to which the table has read its log. Raises StreamMissing, Unavailable."""

    async def compact(self, role: str, unneeded: Unneeded | None = None) -> None:
        """Delete from the table what newer messages have replaced, and tombstones after their time to live,
        until cancelled; returns if there is nothing to do. May run in several processes. `unneeded`: asked
        now and then which of these subjects nobody needs any more; all are older than the log's history."""

    def say(self, subject: str, body: bytes) -> None:
        """Publish a message that is not stored, to all that hear its subject now. It may be lost."""

    async def hear(self, subject: str, sink: Callable[[str, bytes], None]) -> Callable[[], Awaitable[None]]:
        """Call `sink(subject, body)` for each message that is said under the filter `subject`; returns what
        ends that. Raises Unavailable."""

    def problem(self) -> str:
        """Why the log cannot be relied on now, or ''."""

    @property
    def age(self) -> float:
        """Seconds since the log answered last."""

    async def close(self) -> None: ...


class Table(Protocol):
    """One pass over a table. `reached` is valid at its end: the log from there on has neither a gap nor an
    overlap with the table. A pass that takes longer than PASS_WITHIN raises Unavailable."""

    reached: Position

    def __aiter__(self) -> AsyncIterator[list[Message]]: ...


#: The last time that RFC 3339 can express: µs since the epoch.
_LAST = 253_402_300_799_999_999


def stamp(time: int) -> str:
    """RFC 3339 in UTC with microseconds. `time`: µs since the epoch, limited to the years 1970 to 9999."""
    seconds, fraction = divmod(min(max(time, 0), _LAST), 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:06}Z"


def micros(text: str) -> int:
    """µs since the epoch of an RFC 3339 time. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
