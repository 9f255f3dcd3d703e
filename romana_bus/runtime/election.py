"""Leader election: all replicas follow the log, and one of them, the leader, writes.

The lease decides who tries to lead: a standby takes over within three seconds of a `kill -9`. The fence
decides who may write: a leader first publishes LeaderElected, in a term of its own, directly behind
everything that it has read. From then on the server refuses whatever the previous leader still sends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics, tasks
from romana_bus.bus.api import BusError, Closed, Position, Refused, StreamMissing, Unavailable
from romana_bus.bus.writing.write import FencedWriter
from romana_bus.events import LeaderElected
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from romana_bus.bus.api import Lease, Outgoing, Store
    from romana_bus.events import Event
    from romana_bus.runtime.feed import Feed

log = structlog.get_logger(__name__)

#: Seconds: how long a lease lasts without renewal; how often a leader renews it; how often a standby asks;
#: and the least between two heartbeats.
LEASE, RENEW, POLL, BEAT = 2.0, 0.5, 0.25, 0.9
#: Seconds that a leader that stops waits until its decisions are stored.
STOP_WITHIN = 5.0
#: Seconds without a successful acquisition or renewal until that is a problem; and for which a refused write
#: is one: by then it has been tried again.
RENEWED_WITHIN, REFUSED_FOR = 3.0, 5.0


class Outage:
    """What fails, and for how long."""

    def __init__(self, what: str) -> None:
        self._what, self._worked, self._why = what, tasks.monotonic(), ""

    def worked(self) -> None:
        self._worked, self._why = tasks.monotonic(), ""

    def failed(self, error: BusError) -> None:
        self._why = str(error) or type(error).__name__

    def __str__(self) -> str:
        """One line; '' while it works, or has failed only for a short time."""
        waited = tasks.monotonic() - self._worked
        late = self._why and waited > RENEWED_WITHIN
        return f"{self._what} for {waited:.0f} s: {self._why}" if late else ""


class Leadership:
    """What a leader holds: the fenced writer, and the lease, which a task renews."""

    def __init__(self, store: Store, name: str, writer: FencedWriter, lease: Lease) -> None:
        self.writer, self.lost = writer, asyncio.Event()
        self._store, self._name, self._lease = store, name, lease
        self._outage = Outage("the lease could not be renewed")
        self._renewing = asyncio.create_task(self._renew(), name=f"lease {name}")

    async def publish(
        self, decided: Iterable[tuple[Event, str]], bodies: Mapping[int, bytes] | None = None
    ) -> None:
        """Put events with their causes on the log, in order. `bodies`: those that are encoded already, by the
        events' `id`. Raises Fenced, Rewound, Closed."""
        now = self._store.clock.now()
        messages: list[Outgoing] = []
        known = bodies or {}
        counts: Counter[type[Event]] = Counter()
        for event, cause in decided:
            messages.append(outgoing(event, cause, now, self._store.history, known.get(id(event), b"")))
            counts[type(event)] += 1
        for kind, count in counts.items():
            metrics.PUBLISHED.labels(self._name, kind.__name__).inc(count)
        await self.writer.put(messages)

    def problem(self) -> str:
        """Why decisions would not be stored now, or ''."""
        return self.writer.problem or str(self._outage)

    async def until_lost(self) -> None:
        """Returns when the lease is lost. Raises Fenced, Rewound, Closed as soon as the writer knows."""
        failed = asyncio.ensure_future(self.writer.failed.wait())
        lost = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait((failed, lost), return_when=asyncio.FIRST_COMPLETED)
            self.writer.check()
        finally:
            failed.cancel()
            lost.cancel()

    async def _renew(self) -> None:
        """Renew until somebody else holds the lease. While NATS is away, the leader goes on: the fence
        protects the stream. As long as the log answers, tell its readers where it ends."""
        beat = 0.0
        while await self._keep_lease():
            if tasks.monotonic() >= beat and not self.problem() and not self._store.problem():
                beat = tasks.monotonic() + BEAT
                self.writer.beat(self._store.clock.now())
            await asyncio.sleep(RENEW)
        log.warning("another replica holds the lease now", consumer=self._name)
        self.lost.set()

    async def _keep_lease(self) -> bool:
        """False if somebody else holds the lease. Raises Closed."""
        try:
            held = await self._lease.renew() or await self._lease.acquire()
        except Closed:
            raise
        except BusError as error:
            self._outage.failed(error)
            if isinstance(error, StreamMissing | Unavailable):  # the stream of leases may be gone
                with contextlib.suppress(BusError):
                    await self._store.prepare(())  # creates it
            return True
        self._outage.worked()
        return held

    async def leave(self, orderly: bool) -> None:
        """Stop leading. `orderly`: store the decisions first, and release the lease, so that a standby takes
        over at once. The lease is renewed until they are stored: a successor must not begin while messages
        are in flight."""
        metrics.LEADER.labels(self._name).set(0)
        try:
            if orderly:
                with contextlib.suppress(BusError, TimeoutError):
                    async with asyncio.timeout(STOP_WITHIN):
                        await self.writer.flush()
                        await tasks.stop(self._renewing)
                        await self._lease.release()
        finally:
            await tasks.stop(self._renewing)
            await self.writer.close()


class Candidate:
    """A replica that tries to lead `role`."""

    def __init__(self, store: Store, role: str, holder: str) -> None:
        self._store, self._role, self._holder = store, role, holder
        self._outage = Outage("the lease could not be taken")
        self._leadership: Leadership | None = None
        self._refused, self._refused_at = "", 0.0

    def problem(self) -> str:
        """Why this replica could not store a decision now, or could not take over; or ''."""
        if self._refused and tasks.monotonic() - self._refused_at < REFUSED_FOR:
            return self._refused
        return self._leadership.problem() if self._leadership else str(self._outage)

    def refused(self, error: Refused) -> None:
        """Remember for a moment that the log refused a write, as a problem."""
        self._refused, self._refused_at = f"the log refuses: {error}", tasks.monotonic()

    async def become_leader(
        self, feed: Feed, term: Callable[[], int], fold: Callable[[], object]
    ) -> Leadership:
        """Wait for the lease, read the log to its end, and publish LeaderElected in the next term.

        `term()`: the last term that was seen. `fold()` takes in what the feed has; it is called while
        waiting too. Raises Fenced, Rewound, Closed, Refused: then the state has to be rebuilt."""
        store, lease = self._store, self._store.lease(self._role.lower(), self._holder, LEASE)
        self._outage.worked()
        while not await self._acquired(lease):
            await feed.wait(POLL)
            fold()
        after = await _read_to_the_end(store, self._role, feed, fold)
        next_term = term() + 1
        writer = FencedWriter(store, self._role, after, next_term)
        self._leadership = Leadership(store, feed.name, writer, lease)
        try:
            elected = LeaderElected(stream=self._role, term=next_term, holder=self._holder)
            await writer.elect(outgoing(elected, "", store.clock.now(), store.history))
            await feed.drop(self._role)
        except BaseException:
            await self.leave(orderly=False)
            raise
        metrics.LEADER.labels(feed.name).set(1)
        log.info("leading", consumer=feed.name, stream=self._role, term=next_term, holder=self._holder)
        return self._leadership

    async def leave(self, orderly: bool) -> None:
        """Stop leading; see `Leadership.leave`."""
        leadership, self._leadership = self._leadership, None
        if leadership is not None:
            await leadership.leave(orderly)

    async def _acquired(self, lease: Lease) -> bool:
        try:
            held = await lease.acquire()
        except Unavailable as error:
            self._outage.failed(error)
            return False
        self._outage.worked()
        return held


async def _read_to_the_end(store: Store, role: str, feed: Feed, fold: Callable[[], object]) -> Position:
    """Fold until the end of the stream; returns the position that the first write has to follow."""
    while True:
        fold()
        try:
            tail = await store.tail(role)
            position = feed.positions[role]
            if position.seq >= tail.last:
                return position
            if await store.next(role, position.seq) is None:
                # The last messages have already left the log (expired tombstones): nothing more can come.
                return Position(tail.epoch, tail.last, "")
        except Unavailable:
            pass
        await feed.wait(POLL)
