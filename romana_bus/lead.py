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

from romana_bus import tasks, telemetry
from romana_bus.bus.api import BusError, Closed, Position, StreamMissing, Unavailable
from romana_bus.bus.write import FencedWriter
from romana_bus.events import LeaderElected
from romana_bus.feed import outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from romana_bus.bus.api import Lease, Outgoing, Store
    from romana_bus.events import Event
    from romana_bus.feed import Feed

log = structlog.get_logger(__name__)

#: Seconds: how long a silent leader keeps the lease; how often it renews, and others ask.
LEASE, RENEW, POLL = 2.0, 0.5, 0.25
#: How long a leader that stops waits for what it has decided to be stored.
FAREWELL = 5.0
#: Seconds after which a lease that cannot be renewed is a problem.
RENEWED_WITHIN = 3.0


class Leadership:
    """What a leader holds while it leads: the writer, and the lease that is renewed beside it."""

    def __init__(self, store: Store, name: str, writer: FencedWriter, lease: Lease) -> None:
        self.writer, self.lost = writer, asyncio.Event()
        self._store, self._name, self._lease = store, name, lease
        self._renewed, self._why = tasks.monotonic(), ""
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
            telemetry.PUBLISHED.labels(self._name, kind.__name__).inc(count)
        await self.writer.put(messages)

    def problem(self) -> str:
        """Why nothing that is decided here would be stored now, or ''."""
        if problem := self.writer.problem:
            return problem
        waited = tasks.monotonic() - self._renewed
        return f"the lease could not be renewed for {waited:.0f} s: {self._why}" if self._why_late else ""

    @property
    def _why_late(self) -> bool:
        return bool(self._why) and tasks.monotonic() - self._renewed > RENEWED_WITHIN

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
            self._why = str(error)
            if isinstance(error, StreamMissing):
                with contextlib.suppress(BusError):
                    await self._store.prepare(())  # which makes that of leases
            return True
        self._renewed, self._why = tasks.monotonic(), ""
        return held

    async def leave(self, orderly: bool) -> None:
        """`orderly`: store what was decided, and let the successor begin at once. The lease is kept up until
        that has ended: what is in flight must not meet a successor."""
        telemetry.LEADER.labels(self._name).set(0)
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


async def become_leader(
    store: Store, role: str, feed: Feed, holder: str, term: Callable[[], int], fold: Callable[[], object]
) -> Leadership:
    """Wait for the lease, following all the while (`fold` takes in what the feed has), read to the end,
    and be elected in the term behind `term`, the last one that was seen.
    Raises Fenced, Rewound, Closed: state has to be rebuilt."""
    lease = store.lease(role.lower(), holder, LEASE)
    while not await _acquired(lease):
        await feed.wait(POLL)
        fold()
    after = await _read_to_the_end(store, role, feed, fold)
    mine = term() + 1
    writer = FencedWriter(store, role, after, mine)
    leadership = Leadership(store, feed.name, writer, lease)
    try:
        elected = LeaderElected(stream=role, term=mine, holder=holder)
        await writer.elect(outgoing(elected, "", store.clock.now(), store.history))
        await feed.drop(role)
    except BaseException:
        await leadership.leave(orderly=False)
        raise
    telemetry.LEADER.labels(feed.name).set(1)
    log.info("leading", consumer=feed.name, stream=role, term=mine, holder=holder)
    return leadership


async def _acquired(lease: Lease) -> bool:
    try:
        return await lease.acquire()
    except Unavailable:
        return False


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
