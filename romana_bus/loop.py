"""THE loop that every consumer runs in: message -> sequence guard -> evolve -> decide or plan -> publish
or apply. A consumer is its functions and what it reads; everything that waits is here.

    state from the tables, then the logs ─► evolve ─┬─► decide ─► fenced batches on the log    (decider)
                 ▲                                  └─► plan ─► apply ─► Applied, ApplyFailed  (reconciler)
                 └── Fenced or Rewound: the state is void, begin again
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import structlog

from romana_bus import telemetry
from romana_bus.bus.api import BusError, Fenced, Rewound, StreamMissing, Unavailable
from romana_bus.events import NODE, LeaderElected
from romana_bus.feed import Feed, Read, opened
from romana_bus.health import Health
from romana_bus.lead import Office, now, take_office
from romana_bus.reports import Reports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from romana_bus.bus.api import Message, Store
    from romana_bus.events import Event

log = structlog.get_logger(__name__)

S = TypeVar("S")

#: Seconds before state is rebuilt after it became void; grows while nothing works.
AGAIN, AGAIN_AT_MOST = 0.05, 2.0


@dataclass(frozen=True)
class Decider(Generic[S]):
    """Its output is events on one stream, which it alone writes.

    `evolve(state, event, seq)`; `tick(state, now)`: time passes; `decide(state)`: all that is due, in
    parts of events with their causes, folded into the state already, nothing when asked again;
    `wake(state)`: when to decide again without a new event (µs), or None."""

    name: str
    writes: str
    reads: Sequence[Read]
    initial: Callable[[], S]
    evolve: Callable[[S, Event, int], None]
    tick: Callable[[S, int], None]
    decide: Callable[[S], Iterable[Sequence[tuple[Event, str]]]]
    wake: Callable[[S], int | None]


class Bell:
    """How a reconciler hears that the outside may have changed: whoever learns of it rings."""

    def __init__(self) -> None:
        self.rung = False
        self._wake: Callable[[], None] | None = None

    def ring(self) -> None:
        self.rung = True
        if self._wake:
            self._wake()

    def wakes(self, wake: Callable[[], None] | None) -> None:
        self._wake = wake


@dataclass(frozen=True)
class Reconciler(Generic[S]):
    """Its output is the outside world, which it makes as the log wants it.

    `observe(state, full)` reads what is outside: all of it, or, for a batch of events, no more than those
    raise questions about; what is not read is believed to be as it was left. `plan(state, actual)` is pure
    and gives a delta, false when nothing is to be done; `apply(delta)` makes it so and gives the number of
    changes. All may be repeated. What apply raises is reported and tried again with backoff, after a full
    look; what it could do it has done. `standing(state)`: how it stands outside, for reports.

    Full looks: at the start, after a failure, every `tick` seconds, and when the `bell` rings, but then with
    a pause between two of them of `at_least` seconds and of ten times what the last one took."""

    name: str
    node: str
    reads: Sequence[Read]
    initial: Callable[[], S]
    evolve: Callable[[S, Event, int], None]
    observe: Callable[[S, bool], Awaitable[Any]]
    plan: Callable[[S, Any], Any]
    apply: Callable[[Any], Awaitable[int]]
    standing: Callable[[S], dict[str, int]] = lambda _: {}
    bell: Bell = field(default_factory=Bell)
    tick: float = 60.0
    at_least: float = 0.0


@dataclass(frozen=True)
class Projection(Generic[S]):
    """It has no output but its state, which somebody looks at. `changed(state)` after every batch."""

    name: str
    reads: Sequence[Read]
    initial: Callable[[], S]
    evolve: Callable[[S, Event, int], None]
    changed: Callable[[S], Awaitable[None]]


class Consumer(Protocol[S]):
    """What all of them have in common."""

    @property
    def name(self) -> str: ...
    @property
    def reads(self) -> Sequence[Read]: ...
    @property
    def initial(self) -> Callable[[], S]: ...
    @property
    def evolve(self) -> Callable[[S, Event, int], None]: ...


class Writer(Consumer[S], Protocol[S]):
    """One that has a stream of its own."""

    @property
    def writes(self) -> str: ...


class Fold(Generic[S]):
    """A consumer's state, and the one way in which anything gets into it. `why`: why it begins anew."""

    def __init__(self, store: Store, consumer: Consumer[S], why: str) -> None:
        self.state, self.why = consumer.initial(), why
        self.feed = Feed(store, consumer.reads, consumer.name)
        self.term = 0
        self.newest = 0  # the time of the newest event of the last batch, µs
        self.place = ""  # STREAM/SEQUENCE of it
        self._consumer = consumer

    async def boot(self) -> None:
        async for role, messages in self.feed.boot():
            self._evolve(role, messages)
            await asyncio.sleep(0)

    def take(self) -> int:
        """Fold what has come; gives how many."""
        count = 0
        for role, messages in self.feed.take():
            self._evolve(role, messages)
            self.newest, self.place = messages[-1].time, f"{role}/{messages[-1].seq}"
            count += len(messages)
        return count

    def _evolve(self, role: str, messages: list[Message]) -> None:
        name, evolve, state = self._consumer.name, self._consumer.evolve, self.state
        own = getattr(self._consumer, "writes", "")
        for message in messages:
            event = opened(message, name, role)
            if event is None:
                continue
            if role == own and type(event) is LeaderElected:
                self.term = event.term
            evolve(state, event, message.seq)
        telemetry.FOLDED.labels(name, role).inc(len(messages))


async def run_decider(store: Store, decider: Decider[S], holder: str, health: Health | None = None) -> None:
    """Follow as a standby, lead when it is our turn, until cancelled. Raises Closed."""
    await run_leading(store, decider, holder, functools.partial(_govern, decider), health)


async def run_leading(
    store: Store,
    writer: Writer[S],
    holder: str,
    govern: Callable[[Fold[S], Office], Awaitable[None]],
    health: Health | None = None,
) -> None:
    """Follow as a standby; when it is our turn, `govern`, which returns when the lease is lost. When
    cancelled, what was published is stored and the lease given up. Raises Closed."""

    async def once(fold: Fold[S]) -> str:
        office = await take_office(store, writer.writes, fold.feed, holder, lambda: fold.term, fold.take)
        orderly = False
        try:
            await govern(fold, office)
            orderly = True
        except asyncio.CancelledError:
            orderly = True
            raise
        finally:
            await office.leave(orderly)
        return "lease lost"

    await _again_and_again(store, writer, [writer.writes], once, health)


async def _govern(decider: Decider[S], fold: Fold[S], office: Office) -> None:
    """Decide whatever there is to decide, for as long as the lease is ours."""
    while not office.lost.is_set():
        office.writer.check()
        fold.take()
        decider.tick(fold.state, now())
        for part in decider.decide(fold.state):
            await office.publish(part)
            _observe_delay(decider.name, fold.newest)
            await asyncio.sleep(0)  # the lease has to be renewed, however much there is to decide
        due = decider.wake(fold.state)
        await fold.feed.wait(1.0 if due is None else min(1.0, max(0.0, (due - now()) / 1e6)))


async def run_projection(store: Store, projection: Projection[S], health: Health | None = None) -> None:
    """Keep a state up to date until cancelled. Raises Closed."""

    async def once(fold: Fold[S]) -> str:
        while True:
            await projection.changed(fold.state)
            await fold.feed.wait(None)
            fold.take()

    await _again_and_again(store, projection, [], once, health)


async def run_reconciler(store: Store, reconciler: Reconciler[S], health: Health | None = None) -> None:
    """Make the outside as the log wants it until cancelled, and report. Raises Closed."""

    async def once(fold: Fold[S]) -> str:
        reports = Reports(store, reconciler.node, reconciler.name, lambda: reconciler.standing(fold.state))
        reconciler.bell.wakes(fold.feed.nudge)
        try:
            await _reconcile(reconciler, fold, reports)
        finally:
            reconciler.bell.wakes(None)
            with contextlib.suppress(TimeoutError, BusError):
                async with asyncio.timeout(5.0):
                    await reports.close()
            await reports.publisher.close()
        return "never"

    await _again_and_again(store, reconciler, [NODE], once, health)


class _Looks:
    """When a full look is due, and how often it has failed."""

    def __init__(self, reconciler: Reconciler[Any]) -> None:
        self._reconciler = reconciler
        self._due, self._pause_until = 0.0, 0.0
        self.failures = 0

    @property
    def due(self) -> float:
        if self._reconciler.bell.rung:
            return min(self._due, self._pause_until)
        return self._due

    def looked(self, begun: float) -> None:
        self.failures = 0
        self._due = begun + self._reconciler.tick
        ended = time.monotonic()
        self._pause_until = ended + max(self._reconciler.at_least, 10 * (ended - begun))

    def failed(self, full: bool) -> None:
        """What the bell tells may be just what was missing: it need not wait as long as nothing changes.
        Events that fail while a full look is awaited do not put it off: they may come faster than that."""
        self.failures += 1
        if full or self.failures == 1:
            backoff = 0.1 * 2 ** min(self.failures, 8)
            self._due = time.monotonic() + backoff
            self._pause_until = time.monotonic() + min(backoff, 1.0)


async def _reconcile(reconciler: Reconciler[S], fold: Fold[S], reports: Reports) -> None:
    """One pass for every batch of events; one with a full look when that is due."""
    looks = _Looks(reconciler)
    while True:
        begun = time.monotonic()
        full = begun >= looks.due
        if full:
            reconciler.bell.rung = False  # before the look: what changes during it is looked at again
        if (count := fold.take()) or full:
            covers = {role: position.seq for role, position in fold.feed.positions.items()}
            try:
                changes = await _pass(reconciler, fold, full)
            except Exception as error:  # noqa: BLE001  whatever it is: said, and tried again
                looks.failed(full)
                reason = str(error) or type(error).__name__
                log.error(
                    "could not be applied", consumer=reconciler.name, attempt=looks.failures, why=reason
                )
                await reports.failed(covers, reason, looks.failures)
            else:
                cause = fold.place if count and changes else ""
                reports.applied(covers, changes, int((time.monotonic() - begun) * 1e6), cause)
                if count:
                    _observe_delay(reconciler.name, fold.newest)
                if full:
                    looks.looked(begun)
        if not looks.failures:  # what could not be applied still is not, whatever went well since
            await reports.say_if_due()
        due = looks.due if looks.failures else min(looks.due, reports.due)
        await fold.feed.wait(min(1.0, max(0.0, due - time.monotonic())))


async def _pass(reconciler: Reconciler[S], fold: Fold[S], full: bool) -> int:
    """Observe, plan, apply; gives the number of changes."""
    delta = reconciler.plan(fold.state, await reconciler.observe(fold.state, full))
    return await reconciler.apply(delta) if delta else 0


def _observe_delay(consumer: str, since: int) -> None:
    if since:
        telemetry.TIME_TO_APPLY.labels(consumer).observe(max(0, now() - since) / 1e6)


async def _again_and_again(
    store: Store,
    consumer: Consumer[S],
    writes: list[str],
    once: Callable[[Fold[S]], Awaitable[str]],
    health: Health | None,
) -> None:
    """Run `once` on a fresh state; when that has become void, on another, until cancelled."""
    health = health or Health()
    roles = sorted({*writes, *(read.role for read in consumer.reads)})
    delay, why = AGAIN, "start"
    while True:
        telemetry.BOOTS.labels(consumer.name, why).inc()
        health.say(consumer.name, "reading its tables")
        fold, begun = Fold(store, consumer, why), time.monotonic()
        try:
            await fold.boot()
            health.say(consumer.name, "")
            why = await once(fold)
        except Fenced as error:
            why = "fenced"
            log.warning("another one leads: going back to standby", consumer=consumer.name, why=str(error))
        except (Rewound, StreamMissing) as error:
            why = "rewound"
            log.warning("the log is another: rebuilding", consumer=consumer.name, why=str(error))
            with contextlib.suppress(Unavailable, StreamMissing):
                await store.prepare(roles)
        except Unavailable as error:
            why = "unavailable"
            health.say(consumer.name, f"the log is out of reach: {error}")
            log.warning("the log is out of reach", consumer=consumer.name, why=str(error))
        finally:
            await fold.feed.close()
        delay = AGAIN if time.monotonic() - begun > 10 else min(delay * 2, AGAIN_AT_MOST)
        await asyncio.sleep(delay)
