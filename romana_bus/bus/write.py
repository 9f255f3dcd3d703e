"""The fenced writer: one process's decisions, in order, each on the log exactly once.

What is queued goes out in atomic batches, several in flight, each expecting to land directly behind the
one before it. Whatever goes wrong with a batch (a lost answer, a reconnect, a server that died in
between), the log is asked what stands at the places where its messages should be:

    its own messages         -> they were stored; what is missing behind them is sent again
    nothing, log ends there  -> it was not; it and all behind it are sent again under the same ids
    somebody else's message  -> Fenced: another leader has taken over; what is queued is void. Where nobody
                                was elected, ForeignWrite: somebody writes who must not
    the log ends before that -> Rewound: this is not the log that we wrote to

Every message has an id that nobody else gives: term, writer and place. So each is told from any other, also
where a stranger's message stands where one of ours should be, and the next of ours fitted behind it.

A sequence alone would not fence what is sent ahead: where another leader's messages happen to end at the
place that the second batch in flight expects, that one would be stored without the first. So each batch
also names the election (`elect`) that it was decided under, and until there was one, only one is in flight.

So an outage costs delay, never an event and never a second copy. Waiting is bounded by the queue: `put`
blocks when it is full.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

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
from romana_bus.bus.streams import TOKENS
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.bus.api import Position, Store

log = structlog.get_logger(__name__)

#: Messages and bytes of one batch (the server takes 1,000 messages); messages queued.
BATCH, BATCH_BYTES, QUEUED = 1000, 2_000_000, 20_000
ANSWER_WITHIN = 3.0
#: Seconds after which a writer with nothing to write looks whether the connection is a new one, and whether
#: the log has grown.
LOOK = 0.5
#: Batches of up to so many messages may be stored in part (they go out singly), and are looked at one by one.
ONE_BY_ONE = 8
#: How an id begins in a message's headers that a leader of the stream gave it.
_NUMBERED = {role: b"\r\n%s: %s/" % (MSG_ID, role.lower().encode()) for role in TOKENS}
#: Seconds without progress after which a person should know.
COMPLAIN = 5.0


class _Batch(NamedTuple):
    expected: int
    messages: list[Outgoing]
    answer: asyncio.Future[int]
    deadline: float  # by the event loop's clock

    @property
    def end(self) -> int:
        return self.expected + len(self.messages)


class FencedWriter:
    """Writes `role` behind `after`, the last message that its state contains. Messages are numbered by term,
    writer and place: two that were elected at the same moment, in the same term, must never take each
    other's messages for their own."""

    def __init__(self, store: Store, role: str, after: Position, term: int) -> None:
        self.acknowledged = after.seq  #: the last sequence that is known to be on the log
        self._store, self._role = store, role
        self._name = f"{role.lower()}/{term}-{tasks.nonce()}"
        self._epoch, self._last_id, self._generation = after.epoch, after.id, store.generation
        self._sent = after.seq
        self._queue: deque[Outgoing] = deque()
        self._in_flight: deque[_Batch] = deque()
        self._work = asyncio.Event()
        self._progress = asyncio.Event()
        self.failed = asyncio.Event()  #: from now on `check` raises
        self._failure: BusError | None = None
        self._patience, self._known = 0.02, -1
        self._why, self._complain_at = "", 0.0
        self._stuck_since = 0.0  # by the event loop's clock; 0 while things go on
        self._elected: Outgoing | None = None
        self._election: Election | None = None
        self._elect_again = 0.0  # by the event loop's clock
        self._task = asyncio.create_task(self._run(), name=f"write {role}")

    @property
    def queued(self) -> int:
        """How many messages are not acknowledged yet."""
        return len(self._queue) + sum(len(batch.messages) for batch in self._in_flight)

    @property
    def problem(self) -> str:
        """Why what was put is not stored, if it has been waiting for seconds, or ''."""
        waited = asyncio.get_running_loop().time() - self._stuck_since
        if not self._stuck_since or waited < ANSWER_WITHIN:
            return ""
        return f"{self._role} stores nothing ({self.queued} messages wait for {waited:.0f} s): {self._why}"

    async def elect(self, message: Outgoing) -> int:
        """Store the election that all that follows depends on: it is void once there is a later one of
        that subject. Raises as `put`."""
        self._elected = message
        await self.put([message])
        return await self.flush()

    async def put(self, messages: Iterable[Outgoing]) -> None:
        """Queue; returns before they are stored. Raises Fenced, Rewound, Closed, Refused: once it has
        raised, nothing more is written and a new writer is needed."""
        while self._failure is None and len(self._queue) >= QUEUED:
            self._progress.clear()
            await self._progress.wait()
        self.check()
        self._queue.extend(messages)
        self._work.set()

    async def flush(self) -> int:
        """Wait until all that was put is on the log; gives the last sequence. Raises as `put`."""
        while self._failure is None and self.queued:
            self._progress.clear()
            await self._progress.wait()
        self.check()
        return self.acknowledged

    async def close(self) -> None:
        """Stop without waiting; what is in flight may still be stored."""
        await stop(self._task)

    def check(self) -> None:
        """Raises as `put` would."""
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
                elif not self._queue:
                    self._work.clear()
                    await tasks.until_set(self._work, LOOK)
                    if self._store.end(self._role) > self.acknowledged and not self._queue:
                        await self._resolve(False)  # somebody else has written
        except BusError as error:
            self._failure = error
        finally:
            self.failed.set()
            self._progress.set()

    def _send(self) -> None:
        if self._generation != self._store.generation:
            return  # behind a new connection may be another store: first it is looked at
        if self._queue and self._election and asyncio.get_running_loop().time() > self._elect_again:
            # It is about to leave the log, and nothing would be stored under it any more.
            if not self._in_flight and self._elected:
                self._election = None
                self._dispatch(self._numbered([self._elected]))
            return
        window = self._store.window if self._election else 1
        while self._queue and len(self._in_flight) < window:
            self._dispatch(self._numbered(_batch_from(self._queue)))

    def _numbered(self, messages: list[Outgoing]) -> list[Outgoing]:
        """By the places that they are to have."""
        return [
            message if message.id else message._replace(id=f"{self._name}/{place}")
            for place, message in enumerate(messages, self._sent + 1)
        ]

    def _dispatch(self, messages: list[Outgoing]) -> None:
        answer = asyncio.ensure_future(self._store.batch(self._role, self._sent, messages, self._election))
        answer.add_done_callback(_looked_at)
        deadline = asyncio.get_running_loop().time() + ANSWER_WITHIN
        self._in_flight.append(_Batch(self._sent, messages, answer, deadline))
        self._sent += len(messages)

    async def _settle_oldest(self) -> None:
        """Wait for the oldest batch in flight, while new ones may fill the window."""
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
                "a batch has to be looked for", stream=self._role, expected=oldest.expected, why=self._why
            )
            await self._resolve(isinstance(error, DuplicateId))

    def _done(self, batch: _Batch, last: int) -> None:
        if last != batch.end:
            raise Refused(f"{self._role}: the server stored up to {last}, not {batch.end}")
        self._in_flight.popleft()
        self._are_stored(batch.messages)
        self._goes_on()
        self._progress.set()

    def _goes_on(self) -> None:
        self._patience, self._complain_at, self._stuck_since = 0.02, 0.0, 0.0

    async def _resolve(self, known_id: bool) -> None:
        """Find out how far the log is, and send again what is not on it. What was sent once stays in
        flight until it is found: the server may still store it later than it was looked for."""
        unsure = [message for batch in self._in_flight for message in batch.messages]
        stored = await self._look(unsure)
        if unsure and stored == 0:
            # Its ids are known, and yet it is not where it belongs, twice: it is on the log already.
            if known_id and self._known == self.acknowledged:
                raise Fenced(f"what this writer has to say is on {self._role} already, written by another")
            self._known = self.acknowledged if known_id else -1
            await self._wait_longer()  # whatever refused it may need a moment
            stored = await self._look(unsure)
        if stored or not unsure:
            self._goes_on()
        for batch in self._in_flight:
            batch.answer.cancel()
        self._in_flight.clear()
        self._are_stored(unsure[:stored])
        self._sent = self.acknowledged
        again = deque(unsure[stored:])
        while again:
            self._dispatch(_batch_from(again))
        self._progress.set()

    def _are_stored(self, messages: list[Outgoing]) -> None:
        for message in messages:
            self.acknowledged, self._last_id = self.acknowledged + 1, message.id
            if self._elected and message.subject == self._elected.subject:
                self._election = Election(message.subject, self.acknowledged)
                self._elect_again = asyncio.get_running_loop().time() + self._store.history / 2

    async def _look(self, unsure: list[Outgoing]) -> int:
        """`_stored`, as soon as the log can be asked, over one connection from beginning to end."""
        while True:
            self._generation = generation = self._store.generation
            stored = await self._stored(unsure)
            if stored is None:
                await self._wait_longer()
            elif generation == self._store.generation:
                return stored

    async def _wait_longer(self) -> None:
        time = asyncio.get_running_loop().time()
        self._stuck_since = self._stuck_since or time
        self._complain_at = self._complain_at or time + COMPLAIN
        if time > self._complain_at:
            self._complain_at = time + 12 * COMPLAIN
            log.warning(
                "NATS stores nothing; if its disk is full, make room and restart it",
                stream=self._role, waiting=self.queued, why=self._why,
            )  # fmt: skip
        await asyncio.sleep(self._patience)
        self._patience = min(self._patience * 2, 1.0)

    async def _stored(self, unsure: list[Outgoing]) -> int | None:
        """How many of the messages in flight are on the log: they can only be a run directly behind
        `acknowledged`. None: the log cannot be asked now. Raises Fenced, Rewound."""
        try:
            tail = await self._store.tail(self._role)
            found = tail.last - self.acknowledged
            if tail.epoch != self._epoch or found < 0:
                raise Rewound(f"{self._role} ends at {tail.last}, but {self.acknowledged} was acknowledged")
            ids = {self.acknowledged: self._last_id} | self._ids_at(unsure, found)
            for place, mine in ids.items():
                standing = await self._store.get(self._role, place)
                if standing is not None and mine and standing.id != mine:
                    raise await self._foreign(standing)
            if found > len(unsure):
                raise await self._foreign(Message(tail.last, "of which the log has nothing any more", b""))
        except StreamMissing as error:
            raise Rewound(f"the stream is gone: {error}") from None
        except Unavailable as error:
            self._why = str(error)
            log.info("the log cannot be asked", stream=self._role, why=self._why)
            return None
        return found

    def _ids_at(self, unsure: list[Outgoing], found: int) -> dict[int, str]:
        """The ids that have to stand at some of the next `found` places: of every message that may have been
        stored alone, and at both ends of batches that are stored whole or not at all. What stands behind
        all that was sent is not ours."""
        places: dict[int, str] = {}
        sizes = [len(batch.messages) for batch in self._in_flight] or [len(unsure)]
        first = 0
        for size in sizes:
            behind = min(first + size, found)
            every = range(first, behind)
            for at in every if size <= ONE_BY_ONE else {first, behind - 1} & {*every}:
                places[self.acknowledged + 1 + at] = unsure[at].id
            first += size
        if found > len(unsure):
            places[self.acknowledged + len(unsure) + 1] = "(none)"
        return places

    async def _foreign(self, standing: Message) -> Fenced:
        """What it means that somebody else's message stands there. Raises Unavailable."""
        elected = self._election
        newest = await self._store.newest(self._role, elected.subject) if elected else None
        others = newest and elected and newest.seq != elected.seq and by_leader(newest, self._role)
        if elected and not others:
            return ForeignWrite(self._role, standing.seq, standing.subject)
        return Fenced(f"another writer's message stands on {self._role} at {standing.seq}")


def by_leader(message: Message, role: str) -> bool:
    """Whether a leader of that stream wrote it: only leaders number what they write by its place."""
    headers = message.headers
    start = headers.find(_NUMBERED[role])
    return start >= 0 and headers.endswith(b"/%d" % message.seq, start, headers.find(b"\r\n", start + 2))


def _looked_at(answer: asyncio.Future[int]) -> None:
    """Of several batches in flight only the first to fail is waited for: the log tells about the others."""
    if not answer.cancelled():
        answer.exception()


def _batch_from(queue: deque[Outgoing]) -> list[Outgoing]:
    """What one batch can carry, taken from the front."""
    messages: list[Outgoing] = []
    size = 0
    while queue and len(messages) < BATCH and size < BATCH_BYTES:
        message = queue.popleft()
        messages.append(message)
        size += len(message.body)
    return messages
