"""Active and standby: of any number of replicas that follow the log, one writes.

The lease decides who tries, so that a successor goes on within three seconds of a `kill -9`. The fence
decides who may: a leader's first act is LeaderElected, in its own term, directly behind everything that
it has read. From then on whatever its predecessor still sends is refused by the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from romana_bus import telemetry
from romana_bus.bus.api import BusError, Position, Unavailable
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


def now() -> int:
    """The wall clock, µs since the epoch: only shells read it."""
    return time.time_ns() // 1000


class Office:
    """What a leader holds while it leads: the writer, and the lease that is renewed beside it."""

    def __init__(self, store: Store, name: str, writer: FencedWriter, lease: Lease) -> None:
        self.writer, self.lost = writer, asyncio.Event()
        self._store, self._name, self._lease = store, name, lease
        self._renewing = asyncio.create_task(self._renew(), name=f"lease {name}")

    async def publish(self, decided: Iterable[tuple[Event, str]]) -> None:
        """Put events with their causes on the log, in order. Raises Fenced, Rewound, Closed."""
        moment = now()
        messages: list[Outgoing] = []
        counts: Counter[type[Event]] = Counter()
        for event, cause in decided:
            messages.append(outgoing(event, cause, moment, self._store.history))
            counts[type(event)] += 1
        for kind, count in counts.items():
            telemetry.PUBLISHED.labels(self._name, kind.__name__).inc(count)
        await self.writer.put(messages)

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
        held = True
        while held:
            await asyncio.sleep(RENEW)
            with contextlib.suppress(Unavailable):
                held = await self._lease.renew() or await self._lease.acquire()
        log.warning("the lease is somebody else's now", consumer=self._name)
        self.lost.set()

    async def leave(self, orderly: bool) -> None:
        """`orderly`: store what was decided, and let the successor begin at once."""
        telemetry.LEADER.labels(self._name).set(0)
        self._renewing.cancel()
        if orderly:
            with contextlib.suppress(BusError, TimeoutError):
                async with asyncio.timeout(FAREWELL):
                    await self.writer.flush()
                    await self._lease.release()
        await self.writer.close()


async def take_office(
    store: Store, role: str, feed: Feed, holder: str, term: Callable[[], int], fold: Callable[[], object]
) -> Office:
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
    office = Office(store, feed.name, writer, lease)
    try:
        elected = LeaderElected(stream=role, term=mine, holder=holder)
        await writer.elect(outgoing(elected, "", now(), store.history))
        await feed.drop(role)
    except BaseException:
        await office.leave(orderly=False)
        raise
    telemetry.LEADER.labels(feed.name).set(1)
    log.info("leading", consumer=feed.name, stream=role, term=mine, holder=holder)
    return office


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
