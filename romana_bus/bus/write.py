"""The fenced writer: one process's decisions, in order, each on the log exactly once.

What is queued goes out in atomic batches, several in flight, each expecting to land directly behind the
one before it. Whatever goes wrong with a batch (a lost answer, a reconnect, a server that died in
between), the log is asked what stands at the place where the batch should be:

    its own first message    -> it was stored; if only a part of it was, the rest is sent again
    nothing, log ends there  -> it was not; it and all behind it are sent again under the same ids
    somebody else's message  -> Fenced: another leader has taken over; what is queued is void
    the log ends before that -> Rewound: this is not the log that we wrote to

So an outage costs delay, never an event and never a second copy. Waiting is bounded by the queue: `put`
blocks when it is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import structlog

from romana_bus.bus.api import (
    BusError,
    DuplicateId,
    Fenced,
    Outgoing,
    Refused,
    Rewound,
    StreamMissing,
    Unavailable,
    WrongSequence,
)
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.bus.api import Position, Store

log = structlog.get_logger(__name__)

#: Messages and bytes of one batch (the server takes 1,000 messages); batches in flight; messages queued.
BATCH, BATCH_BYTES, IN_FLIGHT, QUEUED = 1000, 2_000_000, 4, 20_000
ANSWER_WITHIN = 3.0
#: Seconds after which a writer with nothing to write looks whether the connection is a new one.
LOOK = 0.5


class _Batch(NamedTuple):
    expected: int
    messages: list[Outgoing]
    answer: asyncio.Future[int]
    deadline: float  # by the event loop's clock

    @property
    def end(self) -> int:
        return self.expected + len(self.messages)


class FencedWriter:
    """Writes `role` behind `after`, the last message that its state contains. Messages without an id are
    numbered by term, writer and place: two that were elected at the same moment, in the same term, must
    never take each other's messages for their own."""

    def __init__(self, store: Store, role: str, after: Position, term: int) -> None:
        self.acknowledged = after.seq  #: the last sequence that is known to be on the log
        self._store, self._role = store, role
        self._name = f"{role.lower()}/{term}-{uuid.uuid4().hex[:6]}"
        self._epoch, self._last_id, self._generation = after.epoch, after.id, store.generation
        self._sent = after.seq
        self._queue: deque[Outgoing] = deque()
        self._in_flight: deque[_Batch] = deque()
        self._work = asyncio.Event()
        self._progress = asyncio.Event()
        self.failed = asyncio.Event()  #: from now on `check` raises
        self._failure: BusError | None = None
        self._patience, self._known = 0.02, -1
        self._task = asyncio.create_task(self._run(), name=f"write {role}")

    @property
    def queued(self) -> int:
        """How many messages are not acknowledged yet."""
        return len(self._queue) + sum(len(batch.messages) for batch in self._in_flight)

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
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK):
                            await self._work.wait()
        except BusError as error:
            self._failure = error
        finally:
            self.failed.set()
            self._progress.set()

    def _send(self) -> None:
        if self._generation != self._store.generation:
            return  # behind a new connection may be another store: first it is looked at
        while self._queue and len(self._in_flight) < IN_FLIGHT:
            messages: list[Outgoing] = []
            size = 0
            while self._queue and len(messages) < BATCH and size < BATCH_BYTES:
                message = self._queue.popleft()
                if not message.id:
                    number = self._sent + len(messages) + 1
                    message = message._replace(id=f"{self._name}/{number}")
                messages.append(message)
                size += len(message.body)
            self._dispatch(self._sent, messages)
            self._sent += len(messages)

    def _dispatch(self, expected: int, messages: list[Outgoing]) -> None:
        answer = asyncio.ensure_future(self._store.batch(self._role, expected, messages))
        deadline = asyncio.get_running_loop().time() + ANSWER_WITHIN
        self._in_flight.append(_Batch(expected, messages, answer, deadline))

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
            log.info(
                "a batch has to be looked for", stream=self._role, expected=oldest.expected, why=str(error)
            )
            await self._resolve(isinstance(error, DuplicateId))

    def _done(self, batch: _Batch, last: int) -> None:
        if last != batch.end:
            raise Refused(f"{self._role}: the server stored up to {last}, not {batch.end}")
        self._in_flight.popleft()
        self.acknowledged, self._last_id = last, batch.messages[-1].id
        self._patience = 0.02
        self._progress.set()

    async def _resolve(self, known_id: bool) -> None:
        """Find out how far the log is, and send again what is not on it."""
        unsure = [message for batch in self._in_flight for message in batch.messages]
        self._generation = self._store.generation
        while (stored := await self._stored(unsure)) is None:
            await self._wait_longer()
        if stored == 0:
            # Its ids are known, and yet it is not where it belongs, twice: it is on the log already.
            if known_id and self._known == self.acknowledged:
                raise Fenced(f"what this writer has to say is on {self._role} already, written by another")
            self._known = self.acknowledged if known_id else -1
            await self._wait_longer()  # whatever refused it may need a moment
        for batch in self._in_flight:
            batch.answer.cancel()
        self._in_flight.clear()
        self._sent = self.acknowledged = self.acknowledged + stored
        self._last_id = unsure[stored - 1].id if stored else self._last_id
        for start in range(stored, len(unsure), BATCH):
            again = unsure[start : start + BATCH]
            self._dispatch(self._sent, again)
            self._sent += len(again)
        self._progress.set()

    async def _wait_longer(self) -> None:
        await asyncio.sleep(self._patience)
        self._patience = min(self._patience * 2, 1.0)

    async def _stored(self, unsure: list[Outgoing]) -> int | None:
        """How many of the messages in flight are on the log: they can only be a run directly behind
        `acknowledged`. None: the log cannot be asked now. Raises Fenced, Rewound."""
        try:
            tail = await self._store.tail(self._role)
            standing = await self._store.get(self._role, tail.last)
        except StreamMissing as error:
            raise Rewound(f"the stream is gone: {error}") from None
        except Unavailable as error:
            log.info("the log cannot be asked", stream=self._role, why=str(error))
            return None
        found = tail.last - self.acknowledged
        if tail.epoch != self._epoch or found < 0:
            raise Rewound(f"{self._role} ends at {tail.last}, but {self.acknowledged} was acknowledged")
        ids = [self._last_id, *(message.id for message in unsure)]
        if found >= len(ids) or (standing is not None and ids[found] and standing.id != ids[found]):
            raise Fenced(f"another writer's message stands on {self._role} at {tail.last}")
        return found
