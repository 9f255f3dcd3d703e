"""Compacts a table: deletes what newer messages have replaced, tombstones after their time to live, and what
nobody needs any more though nobody has ended it, such as the reports of a node that is gone.

The table is a mirror without limits, which nothing leaves by itself. For nats-server (2.15) does not record
on disk what a limit for each subject replaces, nor what expires; at its start it works that out again from
what is left. So if the newer message was deleted and the server is killed, the older one is back: a dead pod
as a living one. What is deleted explicitly stays away. So the messages of a subject are deleted one by one,
the oldest first, and a tombstone only when all before it are gone.

It stays after that, too, for longer than a pass over the table may take, however old it is: after an outage
of hours, a reader may have passed what it ended a moment before that was deleted.

Any number of processes may do this: a message that is due for one is due for all, and a sequence is never
used again, unless the store goes back, which is checked before anything is deleted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics, tasks
from romana_bus.bus.api import (
    PASS_WITHIN,
    TTL,
    BusError,
    Closed,
    Message,
    Position,
    Refused,
    Rewound,
    StreamMissing,
)
from romana_bus.bus.jetstream.pull import Pull
from romana_bus.bus.stream_config import is_compacted
from romana_bus.events.base import SECOND

if TYPE_CHECKING:
    from romana_bus.bus.api import Unneeded
    from romana_bus.bus.jetstream.messages import Streams

log = structlog.get_logger(__name__)

#: Messages that are deleted at once; seconds between two looks at what is due, and after an error; for
#: which the store counts as the one that was read; after a refusal.
BATCH, EVERY, RETRY, CHECKED, REFUSED = 100, 0.5, 1.0, 1.0, 600.0
#: Seconds for which a tombstone stays at least when all before it are gone. Readers' clocks differ.
STAYS = 2.0 * PASS_WITHIN
#: Seconds between two looks for what nobody needs any more.
SURVEY = 600.0
#: Server error codes: the message is not there, or no longer; and it cannot be deleted, which a server also
#: says where the message is before the first of the table (nats-server 2.15: "no message found").
GONE, NOT_DELETED = 10043, 10057

_Tombstone = tuple[int, int, str]  # time until which it stays (µs), sequence, subject


class Rows:
    """What a table has, and what of it says nothing any more. Pure. `unneeded`: see `api.Store.compact`;
    `history`: the age in seconds before which nobody is asked."""

    def __init__(self, unneeded: Unneeded | None = None, history: float = 0.0) -> None:
        self._unneeded, self._history = unneeded, int(history * SECOND)
        self._stored: dict[str, int] = {}  # subject -> when stored (µs), of what nothing ends, for `unneeded`
        self._survey_at = 0.0
        self._newest: dict[str, int] = {}  # subject -> sequence
        self._replaced: deque[int] = deque()  # of each subject, the oldest first
        self._ends: list[_Tombstone] = []  # before which something may be left
        self._stays: deque[tuple[float, list[_Tombstone]]] = deque()  # until when (monotonic)
        self._tombstones: list[_Tombstone] = []  # a heap

    def note(self, message: Message) -> None:
        """Note the next row, in the order of the table."""
        if earlier := self._newest.get(message.subject):
            self._replaced.append(earlier)
        self._newest[message.subject] = message.seq
        self._stored.pop(message.subject, None)
        if seconds := message.seconds(TTL):
            self._ends.append((message.stored + seconds * SECOND, message.seq, message.subject))
        elif self._unneeded:
            self._stored[message.subject] = message.stored

    def due(self, now: int, most: int) -> list[int]:
        """The sequences to delete next, at most so many. Tombstones only where nothing replaced is left, and
        STAYS later. `now`: µs."""
        if self._replaced:
            return [self._replaced[index] for index in range(min(most, len(self._replaced)))]
        monotonic = tasks.monotonic()
        if self._ends:
            self._stays.append((monotonic + STAYS, self._ends))
            self._ends = []
        while self._stays and self._stays[0][0] <= monotonic:
            for entry in self._stays.popleft()[1]:
                heappush(self._tombstones, entry)
        self._survey(now, monotonic)
        found: list[_Tombstone] = []
        while self._tombstones and self._tombstones[0][0] < now and len(found) < most:
            entry = heappop(self._tombstones)
            if self._newest.get(entry[2]) == entry[1]:
                found.append(entry)
        for entry in found:
            heappush(self._tombstones, entry)  # until they are deleted
        return [seq for _, seq, _ in found]

    def deleted(self, seqs: list[int]) -> None:
        """What `due` named is gone."""
        if self._replaced:
            for _ in seqs:
                self._replaced.popleft()
            return
        for _ in seqs:
            _, _, subject = heappop(self._tombstones)
            del self._newest[subject]

    def _survey(self, now: int, monotonic: float) -> None:
        """Treat what nobody needs any more like tombstones whose time is over."""
        if self._unneeded is None or monotonic < self._survey_at:
            return
        self._survey_at = monotonic + SURVEY
        old = [subject for subject, stored in self._stored.items() if stored + self._history < now]
        for subject in self._unneeded(old):
            del self._stored[subject]
            heappush(self._tombstones, (0, self._newest[subject], subject))


class Compaction:
    """Of the table of one stream. `unneeded`: see `api.Store.compact`."""

    def __init__(self, store: Streams, role: str, unneeded: Unneeded | None = None) -> None:
        self._store, self._role, self._unneeded = store, role, unneeded
        self._table = store.layout.table(role)
        self._most = 1  # the first request shows whether it is allowed
        self._checked, self._generation = 0.0, -1
        self._newest: Message | None = None

    async def run(self) -> None:
        """See `api.Store.compact`."""
        while True:
            try:
                if not is_compacted((await self._store.info(self._table)).config):
                    log.info("a table of an older version keeps tombstones", table=self._table)
                    return
                await self._follow()
            except Closed:
                return
            except Refused as error:
                log.warning("a table is not compacted, and grows", table=self._table, why=str(error))
                await asyncio.sleep(REFUSED)  # it may be allowed by then
            except BusError as error:
                log.info("compaction is interrupted", table=self._table, why=str(error))
            except Exception as error:
                log.error("a bug in romana-bus: compacting again", table=self._table, exc_info=error)
            await asyncio.sleep(RETRY)

    async def _follow(self) -> None:
        """Read the table and then what comes to it, and delete what is due. Raises BusError if the store is
        another one, or cannot be used."""
        store, wake = self._store, asyncio.Event()
        rows = Rows(self._unneeded, store.history)
        self._newest = None
        tail = await store.stream_tail(self._table)
        start = Position(tail.epoch, 0, "")
        everything = store.subject(self._role, ">")
        pull = Pull(store, self._table, everything, "compaction", start, wake, bodies=False)
        pull.start()
        try:
            while True:
                for message in pull.take():
                    rows.note(message)
                    self._newest = message
                if not pull.caught_up:
                    await tasks.until_set(wake, EVERY)
                    wake.clear()
                    continue
                await asyncio.sleep(await self._delete(rows, pull.arrived))
        finally:
            await pull.close()

    async def _delete(self, rows: Rows, read: Position) -> float:
        """Delete some of what is due; returns for how many seconds to wait: as long as this took, so that
        half of the server's time is left to others."""
        seqs = rows.due(self._store.clock.now(), self._most)
        if not seqs:
            return EVERY
        began = tasks.monotonic()
        try:
            await self._check(read)
            answers = await asyncio.gather(*map(self._discard, seqs), return_exceptions=True)
            for error in filter(None, answers):
                raise error
        except (Refused, Closed, Rewound, StreamMissing):
            raise
        except BusError as error:
            log.info("nothing is deleted for a moment", table=self._table, why=str(error))
            return RETRY
        rows.deleted(seqs)
        self._most = BATCH
        metrics.COMPACTED.labels(self._role).inc(len(seqs))
        return tasks.monotonic() - began

    async def _check(self, read: Position) -> None:
        """Raises Rewound unless the table is the one that was read. Messages that many write have no ids:
        their times are compared."""
        store, now = self._store, tasks.monotonic()
        if store.generation != self._generation or now - self._checked > CHECKED:
            self._generation = store.generation
            await store.check(self._table, read)
            if newest := self._newest:
                stored = await store.get(self._role, newest.seq)
                if stored is not None and stored.stored != newest.stored:
                    raise Rewound(f"{self._role}/{newest.seq} is not the message that was read")
            self._checked = now

    async def _discard(self, seq: int) -> None:
        try:
            await self._store.api(f"STREAM.MSG.DELETE.{self._table}", {"seq": seq, "no_erase": True})
        except BusError as error:
            if error.code == NOT_DELETED and await self._store.get_of(self._table, seq) is None:
                return
            if error.code != GONE:
                raise
