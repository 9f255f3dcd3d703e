"""The fenced writer: stores one leader's decisions in order, each exactly once.

Queued messages are sent in atomic batches, several in flight; each expects to be stored directly behind the
one before it. When the outcome of a batch is unknown (a lost answer, a reconnect, a server that died), the
writer reads the log at the sequences where the messages should be:

    its own messages          -> they were stored; the missing ones behind them are sent again
    nothing, the log ends     -> they were not stored; they are sent again with the same ids
    somebody else's message   -> Fenced: another leader has taken over, what is queued is void. If nobody else
                                 was elected, ForeignWrite: a process writes that must not
    the log ends before them  -> Rewound: this is not the log that was written before

The id of a message is term, writer and sequence, so no two writers give the same. It identifies a message
even if a foreign one took the sequence of one of ours, and our next one fitted behind it.

The expected sequence alone would not fence batches that are sent ahead: if another leader's messages happened
to end at the sequence that the second batch in flight expects, that batch would be stored without the first.
So each batch also names the election (`elect`) that it was decided under. Until there is one, only one batch
is in flight.

So an outage delays events, but neither loses nor duplicates one. The queue is bounded: `put` waits while it
is full.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

import msgspec
import structlog

from romana_bus import tasks
from romana_bus.bus.api import (
    MSG_ID,
    BusError,
    DuplicateId,
    Election,
    Fenced,
    ForeignWrite,
    Message,
    Outgoing,
    Refused,
    Rewound,
    StreamMissing,
    Unavailable,
    WrongSequence,
)
from romana_bus.bus.parts import ALIVE, Chain, shared
from romana_bus.bus.writing.batches import Batch, batch_from, expected_ids, retrieve_exception
from romana_bus.bus.writing.table_lag import TableLag
from romana_bus.events import ROLES
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.bus.api import Position, Store

log = structlog.get_logger(__name__)

#: Messages that may be queued.
QUEUED = 20_000
ANSWER_WITHIN = 3.0
#: Seconds between two checks of an idle writer: is the connection a new one, and has the log grown?
CHECK_EVERY = 0.5
#: The beginning of an id that a leader of the stream gave, in a message's headers.
_NUMBERED = {role: b"\r\n%s: %s/" % (MSG_ID, role.lower().encode()) for role in ROLES}
#: Seconds without progress after which a warning is logged.
COMPLAIN = 5.0


class FencedWriter:
    """Writes the stream `role` behind `after`, the last message that the leader's state contains.

    An id contains the writer's name too: two writers that were elected at the same time, in the same term,
    must not take each other's messages for their own."""

    def __init__(self, store: Store, role: str, after: Position, term: int) -> None:
        self.acknowledged = after.seq  #: the last sequence that is known to be stored
        self._store, self._role = store, role
        self._name = f"{role.lower()}/{term}-{tasks.nonce()}"
        self._epoch, self._last_id, self._generation = after.epoch, after.id, store.generation
        self._sent = after.seq
        self._chain = Chain(after.epoch)
        self._table = TableLag(store, role)
        self._queue: deque[Outgoing] = deque()
        self._in_flight: deque[Batch] = deque()
        self._work = asyncio.Event()
        self._progress = asyncio.Event()
        self.failed = asyncio.Event()  #: set once `check` raises
        self._failure: BusError | None = None
        self._backoff, self._known = 0.02, -1
        self._why, self._complain_at = "", 0.0
        self._stuck_since = 0.0  # by the event loop's clock; 0 while there is progress
        self._elected: Outgoing | None = None
        self._election: Election | None = None
        self._elect_again = 0.0  # by the event loop's clock
        self._task = asyncio.create_task(self._run(), name=f"write {role}")

    @property
    def queued(self) -> int:
        """How many messages are queued or in flight."""
        return len(self._queue) + sum(len(batch.messages) for batch in self._in_flight)

    @property
    def problem(self) -> str:
        """Why nothing has been stored for seconds, or ''."""
        waited = asyncio.get_running_loop().time() - self._stuck_since
        if not self._stuck_since or waited < ANSWER_WITHIN:
            return ""
        return f"{self._role} stores nothing ({self.queued} messages wait for {waited:.0f} s): {self._why}"

    async def elect(self, message: Outgoing) -> int:
        """Store the election; returns its sequence. Later messages are stored only while it is the newest of
        its subject. Raises as `put`."""
        self._elected = message
        await self.put([message])
        elected = await self.flush()
        for part in shared(self._role):
            with contextlib.suppress(StreamMissing, Unavailable):  # then its readers find out themselves
                newest = await self._store.newest(self._role, f"{part}.>")
                self._chain.know(part, newest.seq if newest else 0)
        return elected

    def beat(self, time: int) -> None:
        """Say where the stream and its parts end, to all that hear it. `time`: the log's, µs."""
        for name, heartbeat in self._chain.heartbeats(self._role, self.acknowledged, time, tasks.monotonic()):
            self._store.say(f"{ALIVE}.{name}", msgspec.json.encode(heartbeat))

    async def put(self, messages: Iterable[Outgoing]) -> None:
        """Queue messages; returns before they are stored. Raises Fenced, Rewound, Closed, Refused; after that
        nothing more is written, and a new writer is needed."""
        while self._failure is None and len(self._queue) >= QUEUED:
            self._progress.clear()
            await self._progress.wait()
        self.check()
        self._queue.extend(messages)
        self._work.set()

    async def flush(self) -> int:
        """Wait until everything is stored; returns the last sequence. Raises as `put`."""
        while self._failure is None and self.queued:
            self._progress.clear()
            await self._progress.wait()
        self.check()
        return self.acknowledged

    async def close(self) -> None:
        """Stop without waiting; messages in flight may still be stored."""
        await stop(self._task)

    def check(self) -> None:
        """Raises as `put`."""
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        try:
            while True:
                if self._generation != self._store.generation:
                    await self._resolve(False)
                self._send()
                if self._in_flight:
                    await self._settle_oldest()
                elif self._queue and self._table.full:
                    await self._wait_for_table()
                elif not self._queue:
                    self._work.clear()
                    await tasks.until_set(self._work, CHECK_EVERY)
                    if self._store.end(self._role) > self.acknowledged and not self._queue:
                        await self._resolve(False)  # somebody else has written
        except BusError as error:
            self._failure = error
        finally:
            self.failed.set()
            self._progress.set()

    def _send(self) -> None:
        if self._generation != self._store.generation:
            return  # a new connection may lead to another store, which is checked first
        if self._table.full:
            return  # a log at its limit would drop what its table has not read
        if self._queue and self._election and asyncio.get_running_loop().time() > self._elect_again:
            # The election is about to leave the log; without it nothing could be stored any more.
            if not self._in_flight and self._elected:
                self._election = None
                self._dispatch(self._numbered([self._elected]))
            return
        window = self._store.window if self._election else 1
        while self._queue and len(self._in_flight) < window and not self._table.full:
            self._dispatch(self._numbered(batch_from(self._queue)))

    def _numbered(self, messages: list[Outgoing]) -> list[Outgoing]:
        """The messages with ids and predecessors, by the sequences that they will have."""
        now, link = tasks.monotonic(), self._chain.link
        return [
            message._replace(
                id=message.id or f"{self._name}/{seq}",
                follows=link(message.subject, seq, now, tombstone=message.ttl > 0),
            )
            for seq, message in enumerate(messages, self._sent + 1)
        ]

    def _dispatch(self, messages: list[Outgoing]) -> None:
        answer = asyncio.ensure_future(self._store.batch(self._role, self._sent, messages, self._election))
        answer.add_done_callback(retrieve_exception)
        deadline = asyncio.get_running_loop().time() + ANSWER_WITHIN
        self._in_flight.append(Batch(self._sent, messages, answer, deadline))
        self._sent += len(messages)
        self._table.wrote(self._sent, messages)

    async def _wait_for_table(self) -> None:
        with contextlib.suppress(StreamMissing, Unavailable):
            if await self._table.look():
                self._reset_backoff()
                return
        self._why = "its table does not read what was written"
        self._stuck_since = self._stuck_since or asyncio.get_running_loop().time()
        await asyncio.sleep(self._backoff)

    async def _settle_oldest(self) -> None:
        """Wait for the oldest batch in flight; meanwhile new batches may fill the window."""
        oldest = self._in_flight[0]
        try:
            async with asyncio.timeout_at(oldest.deadline):
                while not oldest.answer.done():
                    self._work.clear()
                    more = asyncio.ensure_future(self._work.wait())
                    try:
                        await asyncio.wait((oldest.answer, more), return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        more.cancel()
                    self._send()
            self._done(oldest, oldest.answer.result())
        except (Unavailable, WrongSequence, DuplicateId, StreamMissing, TimeoutError) as error:
            self._why = str(error) or f"no acknowledgement within {ANSWER_WITHIN:.0f} s"
            log.info(
                "checking whether a batch was stored",
                stream=self._role, expected=oldest.expected, why=self._why,
            )  # fmt: skip
            await self._resolve(isinstance(error, DuplicateId))

    def _done(self, batch: Batch, last: int) -> None:
        if last != batch.end:
            raise Refused(f"{self._role}: the server stored up to {last}, not {batch.end}")
        self._in_flight.popleft()
        self._mark_stored(batch.messages)
        self._reset_backoff()
        self._progress.set()

    def _reset_backoff(self) -> None:
        self._backoff, self._complain_at, self._stuck_since = 0.02, 0.0, 0.0

    async def _resolve(self, known_id: bool) -> None:
        """Find out how much was stored, and send the rest again. Messages stay in flight until they are
        found: the server may store them after the log was read. `known_id`: the server answered that an id is
        known. Raises Fenced, Rewound."""
        unsure = [message for batch in self._in_flight for message in batch.messages]
        stored, left = await self._count_stored(unsure), False
        if unsure and stored == 0:
            # Twice the ids were known, but the messages are not at their sequences: they are elsewhere.
            if known_id and self._known == self.acknowledged:
                raise Fenced(f"the messages of this writer are already on {self._role}, written by another")
            self._known = self.acknowledged if known_id else -1
            await self._back_off()  # the cause may pass
            left = await self._election_left()  # asked first: what is not stored by then never will be
            stored = await self._count_stored(unsure)
        if stored or not unsure:
            self._reset_backoff()
        for batch in self._in_flight:
            batch.answer.cancel()
        self._in_flight.clear()
        self._mark_stored(unsure[:stored])
        self._sent = self.acknowledged
        self._table.uncount(self._sent)
        missing = deque(unsure[stored:])
        if left and self._elected:
            self._number_again(missing)
            missing = deque(self._numbered([self._elected]))
        while missing:
            self._dispatch(batch_from(missing))
        self._progress.set()

    async def _election_left(self) -> bool:
        """Whether the log has dropped the election, as one at its limit may do at any time: then it stores
        nothing more under it."""
        if self._election is None:
            return False
        try:
            return await self._store.get(self._role, self._election.seq) is None
        except (StreamMissing, Unavailable):
            return False

    def _number_again(self, messages: deque[Outgoing]) -> None:
        """Queue messages again, behind a new election."""
        self._election = None
        for message in reversed(messages):
            self._chain.unlink(message.subject, message.follows)
            ours = message.id.startswith(f"{self._name}/")
            self._queue.appendleft(message._replace(id="" if ours else message.id, follows=-1))

    def _mark_stored(self, messages: list[Outgoing]) -> None:
        for message in messages:
            self.acknowledged, self._last_id = self.acknowledged + 1, message.id
            if self._elected and message.subject == self._elected.subject:
                self._election = Election(message.subject, self.acknowledged)
                self._elect_again = asyncio.get_running_loop().time() + self._store.history / 2

    async def _count_stored(self, unsure: list[Outgoing]) -> int:
        """`_try_count_stored`, repeated until the log answers, all over the same connection."""
        while True:
            self._generation = generation = self._store.generation
            stored = await self._try_count_stored(unsure)
            if stored is None:
                await self._back_off()
            elif generation == self._store.generation:
                return stored

    async def _back_off(self) -> None:
        time = asyncio.get_running_loop().time()
        self._stuck_since = self._stuck_since or time
        self._complain_at = self._complain_at or time + COMPLAIN
        if time > self._complain_at:
            self._complain_at = time + 12 * COMPLAIN
            log.warning(
                "NATS stores nothing; if its disk is full, make room and restart it",
                stream=self._role, waiting=self.queued, why=self._why,
            )  # fmt: skip
        await asyncio.sleep(self._backoff)
        self._backoff = min(self._backoff * 2, 1.0)

    async def _try_count_stored(self, unsure: list[Outgoing]) -> int | None:
        """How many of the messages in flight are stored: they can only be a run directly behind
        `acknowledged`. None: the log does not answer now. Raises Fenced, Rewound."""
        try:
            tail = await self._store.tail(self._role)
            behind = tail.last - self.acknowledged
            if tail.epoch != self._epoch or behind < 0:
                raise Rewound(f"{self._role} ends at {tail.last}, but {self.acknowledged} was acknowledged")
            ids = {self.acknowledged: self._last_id} | expected_ids(
                self._in_flight, unsure, self.acknowledged, behind
            )
            for seq, expected in ids.items():
                stored = await self._store.get(self._role, seq)
                if stored is not None and expected and stored.id != expected:
                    raise await self._foreign(stored)
            if behind > len(unsure):
                raise await self._foreign(Message(tail.last, "of which the log has nothing any more", b""))
        except StreamMissing as error:
            raise Rewound(f"the stream is gone: {error}") from None
        except Unavailable as error:
            self._why = str(error)
            log.info("the log does not answer", stream=self._role, why=self._why)
            return None
        return behind

    async def _foreign(self, message: Message) -> Fenced:
        """The error for somebody else's message behind ours. Raises Unavailable."""
        elected = self._election
        newest = await self._store.newest(self._role, elected.subject) if elected else None
        others = newest and elected and newest.seq != elected.seq and by_leader(newest, self._role)
        if elected and not others:
            return ForeignWrite(self._role, message.seq, message.subject)
        return Fenced(f"another writer's message is on {self._role} at {message.seq}")


def by_leader(message: Message, role: str) -> bool:
    """Whether a leader of that stream wrote the message: only leaders' ids end with the sequence."""
    headers = message.headers
    start = headers.find(_NUMBERED[role])
    return start >= 0 and headers.endswith(b"/%d" % message.seq, start, headers.find(b"\r\n", start + 2))
