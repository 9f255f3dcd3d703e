"""The seam between the log and everybody who uses it: what a store of streams can do, and how it fails.

A stream is named by its role (`events.KUBE`, ...). Its log holds every message of the history window;
its table holds the newest message of each subject, under the same sequence numbers, for ever.

Both implementations, NATS JetStream and the in-memory twin, pass `tests/contract/`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from romana_bus.bus.clock import LogClock

MSG_ID, CAUSE, TIME, TTL = b"Nats-Msg-Id", b"Romana-Cause", b"Romana-Time", b"Nats-TTL"


class BusError(Exception):
    """Something between us and the log went wrong."""


class Unavailable(BusError):
    """No answer, or not now: the same may be tried again, and it may also have happened already."""


class WrongSequence(BusError):
    """The fence: the stream does not end where this write expected it to. Nothing was stored."""


class DuplicateId(BusError):
    """The stream knows one of these message ids already. Nothing was stored."""


class Refused(BusError):
    """The server will not do this, however often it is asked. `code`: its error code, 0 if ours."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


class StreamMissing(BusError):
    """The stream does not exist (any more): the store was emptied."""


class Fenced(BusError):
    """Another process writes this stream now. Whatever this one had decided last is void."""


class ForeignWrite(Fenced):
    """A message by somebody who must not write this stream stands on it, at `seq`, under `subject`: nobody
    else was elected. State has to be folded again with it."""

    def __init__(self, role: str, seq: int, subject: str) -> None:
        super().__init__(f"somebody who was not elected wrote {role}/{seq}, {subject[:200]}")
        self.role, self.seq, self.foreign_subject = role, seq, subject


class Rewound(BusError):
    """The log is not the one that this process has read: emptied, replaced, or gone back in time.
    State folded from it is void and has to be rebuilt from the table."""


class Closed(BusError):
    """The connection is closed for good (credentials refused or expired): the process has to end."""


class Message(msgspec.Struct, gc=False):
    """One stored message as it was read. `pending`: how many the reader had still to come behind it.
    `stored`: when the server stored it, by its clock (µs since the epoch)."""

    seq: int
    subject: str
    body: bytes
    headers: bytes = b""
    pending: int = 0
    stored: int = 0

    def header(self, name: bytes) -> str:
        """The first value of a header, or ''. What is no UTF-8 in it is replaced."""
        start = self.headers.find(b"\r\n" + name + b":")
        if start < 0:
            return ""
        start += len(name) + 3
        return self.headers[start : self.headers.find(b"\r\n", start)].strip().decode(errors="replace")

    @property
    def id(self) -> str:
        return self.header(MSG_ID)

    @property
    def cause(self) -> str:
        """`ROLE/sequence` of the event that led to this one, or ''."""
        return self.header(CAUSE)

    @property
    def time(self) -> int:
        """When its writer wrote it, by the log's time as it knew it: microseconds since the epoch, 0 where it
        did not say, or said what is no time."""
        text = self.header(TIME)
        try:
            return micros(text) if text else 0
        except (ValueError, OverflowError):
            return 0


class Outgoing(NamedTuple):
    """One message to be stored. `id`: '' lets a fenced writer number it. `ttl`: seconds after which it
    leaves log and table (tombstones), 0 for never."""

    subject: str
    body: bytes
    id: str = ""
    cause: str = ""
    time: int = 0
    ttl: int = 0


class Election(NamedTuple):
    """The newest message of `subject` is number `seq`: whoever was elected with it still leads."""

    subject: str
    seq: int


class Tail(NamedTuple):
    """Where a stream stands. `epoch` is made when the stream is created, and never comes back. `first`: the
    sequence of the oldest message that the log still has; `last`: of the newest that it ever had."""

    epoch: str
    first: int
    last: int


class Position(NamedTuple):
    """How far somebody has read. Good only while epoch, range and message id agree with the stream."""

    epoch: str
    seq: int
    id: str


class Reading(Protocol):
    """A cursor that follows a stream. Messages come in order, each once, none left out."""

    position: Position

    @property
    def lag(self) -> int:
        """How many stored messages have not been taken yet, as far as this cursor knows."""

    def take(self) -> list[Message]:
        """What has arrived since the last call; [] if nothing. Never waits.
        Raises Rewound where the stream is no longer the one that was read, Closed where it can't be."""

    async def close(self) -> None:
        """Stop; may be called twice."""


class Lease(Protocol):
    """Who tries. It decides nothing: the fence does."""

    async def acquire(self) -> bool:
        """True if it is now ours. Asking again is fine. Raises Unavailable."""

    async def renew(self) -> bool:
        """False if it is somebody else's by now. Raises Unavailable."""

    async def release(self) -> None:
        """Give it up at once, so that the successor need not wait. Best effort."""


class Store(Protocol):
    """All streams of one cluster."""

    cluster: str
    history: float  #: seconds that the log keeps; tombstones leave the table after it
    generation: int  #: grows with every new connection: behind it may be another store
    clock: LogClock  #: the log's time: what everybody here calls now

    @property
    def window(self) -> int:
        """How many batches of one writer may be in flight."""

    async def prepare(self, roles: Sequence[str]) -> None:
        """Create what is missing, check what is there. May be repeated, by anybody, at once.
        Raises Refused with the reason where the store is unsafe; StreamMissing where that is for others
        to create."""

    async def tail(self, role: str) -> Tail:
        """Raises StreamMissing, Unavailable."""

    async def get(self, role: str, seq: int) -> Message | None:
        """From the stream's leader, never stale. None: never written, or no longer kept."""

    async def next(self, role: str, after: int, under: str = ">") -> Message | None:
        """The first message under a filter, behind a sequence, that the log still has; from the leader,
        never stale."""

    async def newest(self, role: str, subject: str) -> Message | None:
        """The newest message of one subject (without the cluster's prefix), however old; or of all that a
        filter selects."""

    def batch(
        self, role: str, expected: int, messages: Sequence[Outgoing], election: Election | None = None
    ) -> Awaitable[int]:
        """Store all of them in order, directly behind sequence `expected` and, where it is given, under
        that election; gives the last sequence. Where it fails, a beginning of them may be stored, never
        one without those before it. The request leaves at once, in the order of the calls; the result is
        for awaiting. At most 1,000 messages.
        Raises WrongSequence, DuplicateId, Unavailable, Refused, StreamMissing."""

    async def publish(self, role: str, message: Outgoing, expected: int | None = None) -> int:
        """Store one message; if `expected` is given, only if the newest of its subject still has that
        sequence (0: there is none). A known id is stored once and answered as if stored now.
        Raises WrongSequence, Unavailable, Refused, StreamMissing."""

    def table(self, role: str, under: str = ">") -> Table:
        """The newest message of each subject under a filter (one, without the prefix; `*` is one token of it,
        `>` the rest)."""

    def follow(self, role: str, under: str, after: Position, wake: asyncio.Event, name: str) -> Reading:
        """What comes behind `after`; `wake` is set whenever there is something to take. `name` shows up
        in `status`."""

    def lease(self, name: str, holder: str, ttl: float = 2.0) -> Lease: ...

    def end(self, role: str) -> int:
        """The newest sequence of the stream that was heard of lately, without asking."""

    def problem(self) -> str:
        """Why the log is not to be relied on now, or ''."""

    @property
    def age(self) -> float:
        """Seconds since the log has last answered."""

    async def close(self) -> None: ...


class Table(Protocol):
    """One pass over a table. `reached` is valid at the end: follow the log from there, and there is
    neither a gap nor an overlap."""

    reached: Position

    def __aiter__(self) -> AsyncIterator[list[Message]]: ...


#: The last moment that RFC 3339 can write: µs since the epoch.
_LAST = 253_402_300_799_999_999


def stamp(time: int) -> str:
    """RFC 3339 with microseconds, UTC; of what is not between 1970 and 9999, the nearest of them."""
    seconds, fraction = divmod(min(max(time, 0), _LAST), 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:06}Z"


def micros(text: str) -> int:
    """The other way. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
