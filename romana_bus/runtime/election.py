"""Active and standby: of any number of replicas that follow the log, one writes.

The lease decides who tries, so that a successor goes on within three seconds of a `kill -9`. The fence
decides who may: a leader's first act is LeaderElected, in its own term, directly behind everything that
it has read. From then on whatever its predecessor still sends is refused by the server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics, tasks
from romana_bus.bus.api import BusError, Closed, Position, Refused, StreamMissing, Unavailable
from romana_bus.bus.write import FencedWriter
from romana_bus.events import LeaderElected
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from romana_bus.bus.api import Lease, Outgoing, Store
    from romana_bus.events import Event
    from romana_bus.runtime.feed import Feed

log = structlog.get_logger(__name__)

#: Seconds: how long a silent leader keeps the lease; how often it renews, and others ask.
LEASE, RENEW, POLL = 2.0, 0.5, 0.25
#: How long a leader that stops waits for what it has decided to be stored.
FAREWELL = 5.0
#: Seconds after which a lease that cannot be had or renewed is a problem; for which a refusal is one: by then
#: what was refused has been tried again.
RENEWED_WITHIN, REFUSED_FOR = 3.0, 5.0


class Trouble:
    """What does not work, and for how long."""

    def __init__(self, what: str) -> None:
        self._what, self._worked, self._why = what, tasks.monotonic(), ""

    def worked(self) -> None:
        self._worked, self._why = tasks.monotonic(), ""

    def failed(self, error: BusError) -> None:
        self._why = str(error) or type(error).__name__

    def __str__(self) -> str:
        """'' while it is none, or is new."""
        waited = tasks.monotonic() - self._worked
        late = self._why and waited > RENEWED_WITHIN
        return f"{self._what} for {waited:.0f} s: {self._why}" if late else ""


class Leadership:
    """What a leader holds while it leads: the writer, and the lease that is renewed beside it."""

    def __init__(self, store: Store, name: str, writer: FencedWriter, lease: Lease) -> None:
        self.writer, self.lost = writer, asyncio.Event()
        self._store, self._name, self._lease = store, name, lease
        self._trouble = Trouble("the lease could not be renewed")
        self._renewing = asyncio.create_task(self._renew(), name=f"lease {name}")

    async def publish(self, decided: Iterable[tuple[Event, str]]) -> None:
        """Put events with their causes on the log, in order. Raises Fenced, Rewound, Closed."""
        moment = self._store.clock.now()
        messages: list[Outgoing] = []
        counts: Counter[type[Event]] = Counter()
        for event, cause in decided:
            messages.append(outgoing(event, cause, moment, self._store.history))
            counts[type(event)] += 1
        for kind, count in counts.items():
            metrics.PUBLISHED.labels(self._name, kind.__name__).inc(count)
        await self.writer.put(messages)

    def problem(self) -> str:
        """Why nothing that is decided here would be stored now, or ''."""
        return self.writer.problem or str(self._trouble)

    async def over(self) -> None:
        """Until the lease is lost. Raises Fenced, Rewound, Closed as soon as the writer knows."""
        failed = asyncio.ensure_future(self.writer.failed.wait())
        lost = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait((failed, lost), return_when=asyncio.FIRST_COMPLETED)
            self.writer.check()
        finally:
            failed.cancel()
            lost.cancel()

    async def _renew(self) -> None:
        """Until somebody else has it. While NATS is away there is nothing to lose: the fence holds."""
        while await self._held():
            await asyncio.sleep(RENEW)
        log.warning("the lease is somebody else's now", consumer=self._name)
        self.lost.set()

    async def _held(self) -> bool:
        try:
            held = await self._lease.renew() or await self._lease.acquire()
        except Closed:
            raise
        except BusError as error:
            self._trouble.failed(error)
            if isinstance(error, StreamMissing | Unavailable):  # nobody may serve it because it is gone
                with contextlib.suppress(BusError):
                    await self._store.prepare(())  # which makes that of leases
            return True
        self._trouble.worked()
        return held

    async def leave(self, orderly: bool) -> None:
        """`orderly`: store what was decided, and let the successor begin at once. The lease is kept up until
        that has ended: what is in flight must not meet a successor."""
        metrics.LEADER.labels(self._name).set(0)
        try:
            if orderly:
                with contextlib.suppress(BusError, TimeoutError):
                    async with asyncio.timeout(FAREWELL):
                        await self.writer.flush()
                        await tasks.stop(self._renewing)
                        await self._lease.release()
        finally:
            await tasks.stop(self._renewing)
            await self.writer.close()


class Candidate:
    """A replica that leads `role` whenever it may."""

    def __init__(self, store: Store, role: str, holder: str) -> None:
        self._store, self._role, self._holder = store, role, holder
        self._trouble = Trouble("the lease could not be taken")
        self._leadership: Leadership | None = None
        self._refused, self._refused_at = "", 0.0

    def problem(self) -> str:
        """Why nothing that this replica decides would be stored now, or why it could not take over; or ''."""
        if self._refused and tasks.monotonic() - self._refused_at < REFUSED_FOR:
            return self._refused
        return self._leadership.problem() if self._leadership else str(self._trouble)

    def refused(self, error: Refused) -> None:
        """The log would not take what a leader had to say."""
        self._refused, self._refused_at = f"the log refuses: {error}", tasks.monotonic()

    async def elected(self, feed: Feed, term: Callable[[], int], fold: Callable[[], object]) -> Leadership:
        """Wait for the lease, following all the while (`fold` takes in what the feed has), read to the end,
        and be elected in the term behind `term`, the last one that was seen.
        Raises Fenced, Rewound, Closed, Refused: state has to be rebuilt."""
        store, lease = self._store, self._store.lease(self._role.lower(), self._holder, LEASE)
        self._trouble.worked()
        while not await self._acquired(lease):
            await feed.wait(POLL)
            fold()
        after = await _read_to_the_end(store, self._role, feed, fold)
        mine = term() + 1
        writer = FencedWriter(store, self._role, after, mine)
        self._leadership = Leadership(store, feed.name, writer, lease)
        try:
            elected = LeaderElected(stream=self._role, term=mine, holder=self._holder)
            await writer.elect(outgoing(elected, "", store.clock.now(), store.history))
            await feed.drop(self._role)
        except BaseException:
            await self.leave(orderly=False)
            raise
        metrics.LEADER.labels(feed.name).set(1)
        log.info("leading", consumer=feed.name, stream=self._role, term=mine, holder=self._holder)
        return self._leadership

    async def leave(self, orderly: bool) -> None:
        """Lead no longer; see `Leadership.leave`."""
        leadership, self._leadership = self._leadership, None
        if leadership is not None:
            await leadership.leave(orderly)

    async def _acquired(self, lease: Lease) -> bool:
        try:
            held = await lease.acquire()
        except Unavailable as error:
            self._trouble.failed(error)
            return False
        self._trouble.worked()
        return held


async def _read_to_the_end(store: Store, role: str, feed: Feed, fold: Callable[[], object]) -> Position:
    """Fold until nothing is left; the position that the first write has to follow."""
    while True:
        fold()
        try:
            tail = await store.tail(role)
            position = feed.positions[role]
            if position.seq >= tail.last:
                return position
            if await store.next(role, position.seq) is None:
                # The last messages have left the log already (tombstones): nothing more can come.
                return Position(tail.epoch, tail.last, "")
        except Unavailable:
            pass
        await feed.wait(POLL)
