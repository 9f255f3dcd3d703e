"""THE loop that every consumer runs in: message -> sequence guard -> evolve -> decide or plan -> publish
or apply. A consumer is its functions and what it reads; everything that waits is here.

    state from the tables, then the logs ─► evolve ─┬─► decide ─► fenced batches on the log    (decider)
                 ▲                                  └─► plan ─► apply ─► Applied, ApplyFailed  (reconciler)
                 └── Fenced, Rewound, or a mistake of ours: the state is void, begin again

Nothing that a message says ends it, nor what one consumer does wrong another one: a message that `evolve`
fails on is left out when the state is built anew, counted and shown; whatever else goes wrong is said, and
tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import structlog

from romana_bus import tasks, telemetry
from romana_bus.bus.api import (
    BusError,
    Closed,
    Fenced,
    ForeignWrite,
    Rewound,
    StreamMissing,
    Unavailable,
)
from romana_bus.errors import RomanaError
from romana_bus.events import NODE, Event, LeaderElected
from romana_bus.feed import Feed, Read
from romana_bus.flaws import Flaw, Flaws, understood
from romana_bus.health import LEADER, STANDBY, Health
from romana_bus.lead import Leadership, become_leader
from romana_bus.reports import FlawReports, Reports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from romana_bus.bus.api import Message, Position, Store
    from romana_bus.clock import LogClock

log = structlog.get_logger(__name__)

S = TypeVar("S")

#: Seconds before state is rebuilt after it became void; grows while nothing works; the most where the
#: mistake is ours.
AGAIN, AGAIN_AT_MOST, MISTAKEN = 0.05, 2.0, 30.0


@dataclass(frozen=True)
class Decider(Generic[S]):
    """Its output is events on one stream, which it alone writes.

    `evolve(state, event, seq)`; `tick(state, now)`: time passes; `decide(state)`: all that is due, in
    parts of events with their causes, folded into the state already, nothing when asked again;
    `wake(state)`: when to decide again without a new event (µs), or None; `refused(state)`: what of the log
    contradicts what was known, as (stream, sequence, subject, why); `lost(state, stream)`: that stream has
    lost messages that were read before, so what it says now may be behind."""

    name: str
    writes: str
    reads: Sequence[Read]
    initial: Callable[[], S]
    evolve: Callable[[S, Event, int], None]
    tick: Callable[[S, int], None]
    decide: Callable[[S], Iterable[Sequence[tuple[Event, str]]]]
    wake: Callable[[S], int | None]
    refused: Callable[[S], Iterable[tuple[str, int, str, str]]] = lambda _: ()
    lost: Callable[[S, str], None] = lambda *_: None


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


class Failing(Exception):
    """`evolve` failed on one message, so the state may be half changed: it is built anew without that one."""


class Fold(Generic[S]):
    """A consumer's state, and the one way in which anything gets into it. `why`: why it begins anew. `bad`:
    messages, by stream and sequence, that `evolve` fails on, and why: they are left out."""

    def __init__(
        self, store: Store, consumer: Consumer[S], why: str, bad: dict[tuple[str, int], str] | None = None
    ) -> None:
        own = getattr(consumer, "writes", "")
        self.why = why
        self.flaws = Flaws(consumer.name, own if getattr(consumer, "strict", False) else "")
        self.state = consumer.initial()
        self._consumer, self._own, self._bad = consumer, own, {} if bad is None else bad
        self._clock = store.clock
        self._time_passes()  # what is over when it is folded need not be remembered at all
        self.feed = Feed(store, consumer.reads, consumer.name, self.flaws, own)
        self.term = 0
        self.newest = 0  # when the newest message of the last batch was stored, µs
        self.place = ""  # STREAM/SEQUENCE of it
        self.whole = True  # all that our own leaders have said is known, whatever others wrote over it

    async def boot(self, before: Mapping[str, Position] | None = None) -> None:
        """`before`: how far the last one had read. Raises Rewound, StreamMissing, Unavailable, Failing."""
        async for role, messages in self.feed.boot():
            self._evolve(role, messages)
            await asyncio.sleep(0)
        if isinstance(self._consumer, Decider):
            for role in await self.feed.lost(before or {}):
                self._consumer.lost(self.state, role)

    def _time_passes(self) -> None:
        """For a decider: also for one that stands by, or it would remember what is long over."""
        if isinstance(self._consumer, Decider):
            self._consumer.tick(self.state, self._clock.now())

    def take(self) -> int:
        """Fold what has come until now; gives how many. Raises Rewound, Closed, Failing."""
        count = 0
        for role, messages in self.feed.take():
            self._evolve(role, messages)
            self.newest, self.place = messages[-1].stored, f"{role}/{messages[-1].seq}"
            count += len(messages)
        self._time_passes()
        return count

    async def say_again(
        self, store: Store, publish: Callable[[list[tuple[Event, str]]], Awaitable[None]]
    ) -> bool:
        """Where somebody else's message stands on our own stream, and cannot be used, the word before it is
        said again. False where the log has none any more. Raises Fenced, BusError."""
        whole = True
        for flaw in self.flaws.kept:
            standing = await store.get(self._own, flaw.seq) if flaw.role == self._own else None
            if standing is None or standing.id:
                continue
            earlier = await self.flaws.word_before(store, flaw)
            event = understood(earlier or standing, self._own)
            if earlier is None and isinstance(event, Event):
                self._consumer.evolve(self.state, event, flaw.seq)  # to be held against the truth
            if earlier is None or not isinstance(event, Event):
                whole = False
                continue
            await publish([(event, f"{self._own}/{flaw.seq}")])
            self.flaws.mended(flaw.role, flaw.subject, flaw.seq + 1)
        return whole

    def found(self) -> list[Flaw]:
        """What of the log could not be used, by its place there."""
        refused = getattr(self._consumer, "refused", None)
        return sorted([*self.flaws.kept, *(Flaw(*one) for one in (refused(self.state) if refused else ()))])

    def _evolve(self, role: str, messages: list[Message]) -> None:
        evolve, state, read = self._consumer.evolve, self.state, self.flaws.read
        for message in messages:
            event = read(message, role)
            if event is None:
                continue
            if role == self._own and type(event) is LeaderElected:
                self.term = event.term
            if self._bad and (why := self._bad.get((role, message.seq))):
                self.flaws.park(message, role, why)
                continue
            try:
                evolve(state, event, message.seq)
            except Exception as error:
                why = f"{self._consumer.name} failed on it: {type(error).__name__}: {error}"
                self._bad[role, message.seq] = why
                log.exception("a message could not be folded", stream=role, seq=message.seq)
                raise Failing(why) from error
        telemetry.FOLDED.labels(self._consumer.name, role).inc(len(messages))


async def run_decider(store: Store, decider: Decider[S], holder: str, health: Health | None = None) -> None:
    """Follow as a standby, lead when it is our turn, until cancelled. Raises Closed."""
    await run_leading(store, decider, holder, functools.partial(_govern, decider, store.clock), health)


async def run_leading(
    store: Store,
    writer: Writer[S],
    holder: str,
    govern: Callable[[Fold[S], Leadership], Awaitable[None]],
    health: Health | None = None,
) -> None:
    """Follow as a standby; when it is our turn, `govern`, which returns when the lease is lost. When
    cancelled, what was published is stored and the lease given up. Raises Closed."""
    health = health or Health()
    reports = FlawReports(store, writer.name)

    async def once(fold: Fold[S]) -> str:
        health.stand(writer.name, STANDBY)
        leadership = await become_leader(
            store, writer.writes, fold.feed, holder, lambda: fold.term, fold.take
        )
        health.stand(writer.name, LEADER)
        health.check(f"{writer.name} writes", leadership.problem)
        telling = asyncio.create_task(reports.keep_up(fold.found), name=f"flaws {writer.name}")
        orderly = False
        try:
            fold.whole = await fold.say_again(store, leadership.publish)
            await govern(fold, leadership)
            orderly = True
        except asyncio.CancelledError:
            orderly = True
            raise
        except ForeignWrite as error:
            telemetry.FOREIGN.labels(error.role).inc()
            await reports.foreign(error)
            raise
        finally:
            health.stand(writer.name, "")
            health.check(f"{writer.name} writes", None)
            await tasks.stop(telling)
            await leadership.leave(orderly)
        return "lease lost"

    try:
        await _again_and_again(store, writer, [writer.writes], once, health)
    finally:
        await reports.close()


async def _govern(decider: Decider[S], clock: LogClock, fold: Fold[S], leadership: Leadership) -> None:
    """Decide whatever there is to decide, for as long as the lease is ours."""
    while not leadership.lost.is_set():
        leadership.writer.check()
        fold.take()
        for part in decider.decide(fold.state):
            await leadership.publish(part)
            _observe_delay(decider.name, clock, fold.newest)
            await asyncio.sleep(0)  # the lease has to be renewed, however much there is to decide
        due = decider.wake(fold.state)
        await fold.feed.wait(1.0 if due is None else min(1.0, max(0.0, (due - clock.now()) / 1e6)))


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
        def standing() -> dict[str, int]:
            parked = {"messages parked": len(fold.flaws.kept)} if fold.flaws else {}
            return reconciler.standing(fold.state) | parked

        reports = Reports(store, reconciler.node, reconciler.name, standing)
        reconciler.bell.wakes(fold.feed.nudge)
        try:
            await _reconcile(reconciler, store.clock, fold, reports)
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
        ended = tasks.monotonic()
        self._pause_until = ended + max(self._reconciler.at_least, 10 * (ended - begun))

    def failed(self, full: bool) -> None:
        """What the bell tells may be just what was missing: it need not wait as long as nothing changes.
        Events that fail while a full look is awaited do not put it off: they may come faster than that."""
        self.failures += 1
        if full or self.failures == 1:
            backoff = 0.1 * 2 ** min(self.failures, 8)
            self._due = tasks.monotonic() + backoff
            self._pause_until = tasks.monotonic() + min(backoff, 1.0)


async def _reconcile(reconciler: Reconciler[S], clock: LogClock, fold: Fold[S], reports: Reports) -> None:
    """One pass for every batch of events; one with a full look when that is due."""
    looks = _Looks(reconciler)
    while True:
        begun = tasks.monotonic()
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
                reports.applied(covers, changes, int((tasks.monotonic() - begun) * 1e6), cause)
                if count:
                    _observe_delay(reconciler.name, clock, fold.newest)
                if full:
                    looks.looked(begun)
        if not looks.failures:  # what could not be applied still is not, whatever went well since
            await reports.say_if_due()
        due = looks.due if looks.failures else min(looks.due, reports.due)
        await fold.feed.wait(min(1.0, max(0.0, due - tasks.monotonic())))


async def _pass(reconciler: Reconciler[S], fold: Fold[S], full: bool) -> int:
    """Observe, plan, apply; gives the number of changes."""
    delta = reconciler.plan(fold.state, await reconciler.observe(fold.state, full))
    return await reconciler.apply(delta) if delta else 0


def _observe_delay(consumer: str, clock: LogClock, since: int) -> None:
    if since:
        telemetry.TIME_TO_APPLY.labels(consumer).observe(max(0, clock.now() - since) / 1e6)


async def _again_and_again(
    store: Store,
    consumer: Consumer[S],
    writes: list[str],
    once: Callable[[Fold[S]], Awaitable[str]],
    health: Health | None,
) -> None:
    """Run `once` on a fresh state; when that has become void, on another, until cancelled. Raises Closed, and
    RomanaError where a person has to do something before anything can work."""
    health, name = health or Health(), consumer.name
    roles = sorted({*writes, *(read.role for read in consumer.reads)})
    delay, why, bad = AGAIN, "start", dict[tuple[str, int], str]()
    before: dict[str, Position] = {}
    while True:
        telemetry.BOOTS.labels(name, why).inc()
        health.say(name, "reading its tables")
        fold, begun = Fold(store, consumer, why, bad), tasks.monotonic()
        try:
            await fold.boot(before)
            health.say(name, "")
            why = await once(fold)
        except (Closed, RomanaError):
            raise
        except Exception as error:  # noqa: BLE001  whatever it is: said, and tried again
            why = _void(error, name, health)
            if why == "rewound":
                bad.clear()  # other messages stand at those places
                with contextlib.suppress(BusError):
                    await store.prepare(roles)
        finally:
            await fold.feed.close()
        before |= fold.feed.positions
        most = MISTAKEN if why == "mistaken" else AGAIN_AT_MOST
        delay = AGAIN if tasks.monotonic() - begun > 10 else min(delay * 2, most)
        await asyncio.sleep(delay)


def _void(error: Exception, name: str, health: Health) -> str:
    """Say why the state is void; gives that in a word."""
    match error:
        case ForeignWrite():
            log.error("somebody else's message is on the log: rebuilding", consumer=name, why=str(error))
            return "foreign"
        case Fenced():
            log.warning("another one leads: going back to standby", consumer=name, why=str(error))
            return "fenced"
        case Rewound() | StreamMissing():
            log.warning("the log is another: rebuilding", consumer=name, why=str(error))
            return "rewound"
        case Unavailable():
            health.say(name, f"the log is out of reach: {error}")
            log.warning("the log is out of reach", consumer=name, why=str(error))
            return "unavailable"
        case BusError():
            health.say(name, f"the log refuses: {error}")
            log.error("the log refuses", consumer=name, why=str(error))
            return "refused"
        case Failing():
            return "failing"
    health.say(name, f"it failed: {type(error).__name__}: {error}")
    log.error("a mistake of ours: trying again", consumer=name, exc_info=error)
    return "mistaken"
