"""The loop that every consumer runs in: message -> sequence guard -> evolve -> decide or plan -> publish
or apply. A consumer is its functions and what it reads (`consumer.py`); everything that waits is here and,
for reconcilers, in `reconcile.py`.

    state from the tables, then the logs ─► evolve ─┬─► decide ─► fenced batches on the log    (decider)
                 ▲                                  └─► plan ─► apply ─► Applied, ApplyFailed  (reconciler)
                 └── Fenced, Rewound, or a bug: the state is void and is rebuilt

No message ends the loop, and no consumer's error ends another one. A message that `evolve` fails on is
parked, and the state is rebuilt without it. Every other error is logged, and the consumer starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from romana_bus import metrics, tasks
from romana_bus.bus.api import (
    BusError,
    Closed,
    Fenced,
    ForeignWrite,
    Refused,
    Rewound,
    StreamMissing,
    Unavailable,
)
from romana_bus.errors import RomanaError
from romana_bus.events import compacted_by
from romana_bus.runtime.election import Candidate, Leadership
from romana_bus.runtime.fold import EvolveFailed, Fold
from romana_bus.runtime.health import LEADER, STANDBY, Health
from romana_bus.runtime.reports import ParkedReports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from romana_bus.bus.api import Position, Store
    from romana_bus.bus.clock import LogClock
    from romana_bus.runtime.consumer import Consumer, Decider, Projection, Writer

log = structlog.get_logger(__name__)

S = TypeVar("S")

#: Seconds of backoff before void state is rebuilt: at first, at most, and at most after a bug in a consumer.
BACKOFF, MAX_BACKOFF, MAX_BACKOFF_BUG = 0.05, 2.0, 30.0


async def run_decider(store: Store, decider: Decider[S], holder: str, health: Health | None = None) -> None:
    """Follow as a standby, and decide while elected, until cancelled. `holder`: this replica's name.
    Raises Closed."""
    lead = functools.partial(_decide, decider, store)
    await run_leading(store, decider, holder, lead, health, decider.unneeded)


async def run_leading(
    store: Store,
    writer: Writer[S],
    holder: str,
    lead: Callable[[Fold[S], Leadership], Awaitable[None]],
    health: Health | None = None,
    unneeded: Callable[[S, str, list[str]], Iterable[str]] | None = None,
) -> None:
    """Follow as a standby, and run `lead` while elected: it returns when the lease is lost. When cancelled,
    store what was published and release the lease. `unneeded`: see `Decider`. Raises Closed."""
    health = health or Health()
    reports, candidate = ParkedReports(store, writer.name), Candidate(store, writer.writes, holder)

    async def once(fold: Fold[S]) -> str:
        health.stand(writer.name, STANDBY)
        beside: list[asyncio.Task[None]] = []
        orderly = False

        def compact(role: str) -> Coroutine[Any, Any, None]:
            if unneeded is None or role == writer.writes:  # it ends by itself what it has written
                return store.compact(role)
            return store.compact(role, lambda subjects: unneeded(fold.state, role, subjects))

        try:
            leadership = await candidate.become_leader(fold.feed, lambda: fold.term, fold.take)
            health.stand(writer.name, LEADER)
            beside = [
                asyncio.create_task(reports.keep_up(fold.unusable), name=f"parked {writer.name}"),
                *(
                    asyncio.create_task(compact(role), name=f"compact {role}")
                    for role in compacted_by(writer.writes)
                ),
            ]
            fold.whole = await fold.republish_overwritten(store, leadership.publish)
            await lead(fold, leadership)
            orderly = True
        except asyncio.CancelledError:
            orderly = True
            raise
        except ForeignWrite as error:
            metrics.FOREIGN.labels(error.role).inc()
            await reports.foreign(error)
            raise
        except Refused as error:
            candidate.refused(error)
            raise
        finally:
            health.stand(writer.name, "")
            await candidate.leave(orderly)
            await asyncio.gather(*map(tasks.stop, beside))
        return "lease lost"

    health.stand(writer.name, "")
    health.check(f"{writer.name} writes", candidate.problem)
    try:
        await run_rebuilding(store, writer, [writer.writes], once, health)
    finally:
        health.check(f"{writer.name} writes", None)
        await reports.close()


async def _decide(decider: Decider[S], store: Store, fold: Fold[S], leadership: Leadership) -> None:
    """Publish what is due, until the lease is lost."""
    clock = store.clock
    if decider.prepare:
        await decider.prepare(store, fold.state)
    while not leadership.lost.is_set():
        leadership.writer.check()
        fold.take()
        for part in decider.decide(fold.state):
            await leadership.publish(part)
            observe_delay(decider.name, clock, fold.newest)
            await asyncio.sleep(0)  # lets the lease be renewed, however much there is to decide
        due = decider.wake(fold.state)
        await fold.feed.wait(1.0 if due is None else min(1.0, max(0.0, (due - clock.now()) / 1e6)))


async def run_projection(store: Store, projection: Projection[S], health: Health | None = None) -> None:
    """Keep a state up to date until cancelled. Raises Closed."""

    async def once(fold: Fold[S]) -> str:
        while True:
            await projection.changed(fold.state)
            await fold.feed.wait(None)
            fold.take()

    await run_rebuilding(store, projection, [], once, health)


def observe_delay(consumer: str, clock: LogClock, since: int) -> None:
    """Measure the time from `since` (µs; 0: unknown) until now."""
    if since:
        metrics.TIME_TO_APPLY.labels(consumer).observe(max(0, clock.now() - since) / 1e6)


async def run_rebuilding(
    store: Store,
    consumer: Consumer[S],
    writes: list[str],
    once: Callable[[Fold[S]], Awaitable[str]],
    health: Health | None,
) -> None:
    """Run `once` on a new state; whenever that becomes void, rebuild it and start again, until cancelled.
    Raises Closed, and RomanaError if a person has to act first."""
    health, name = health or Health(), consumer.name
    roles = sorted({*writes, *(read.role for read in consumer.reads)})
    delay, why, bad = BACKOFF, "start", dict[tuple[str, int], str]()
    before: dict[str, Position] = {}
    while True:
        metrics.BOOTS.labels(name, why).inc()
        health.say(name, "reading its tables")
        fold, started = Fold(store, consumer, why, bad), tasks.monotonic()
        try:
            await fold.boot(before)
            health.say(name, "")
            why = await once(fold)
        except (Closed, RomanaError):
            raise
        except Exception as error:  # noqa: BLE001  every error is logged, and the state rebuilt
            why = _why_void(error, name, health)
            if why == "rewound":
                bad.clear()  # those sequences are other messages now
                with contextlib.suppress(BusError):
                    await store.prepare(roles)
        finally:
            await fold.feed.close()
        before |= fold.feed.positions
        longest = MAX_BACKOFF_BUG if why == "mistaken" else MAX_BACKOFF
        delay = BACKOFF if tasks.monotonic() - started > 10 else min(delay * 2, longest)
        await asyncio.sleep(delay)


def _why_void(error: Exception, name: str, health: Health) -> str:
    """Log and report why the state is void; returns the reason as one word, a label of a metric."""
    match error:
        case ForeignWrite():
            log.error("somebody else's message is on the log: rebuilding", consumer=name, why=str(error))
            return "foreign"
        case Fenced():
            log.warning("another replica leads: going back to standby", consumer=name, why=str(error))
            return "fenced"
        case Rewound() | StreamMissing():
            log.warning("the log was replaced or rewound: rebuilding", consumer=name, why=str(error))
            return "rewound"
        case Unavailable():
            health.say(name, f"the log is out of reach: {error}")
            log.warning("the log is out of reach", consumer=name, why=str(error))
            return "unavailable"
        case BusError():
            health.say(name, f"the log refuses: {error}")
            log.error("the log refuses", consumer=name, why=str(error))
            return "refused"
        case EvolveFailed():
            return "failing"
    health.say(name, f"it failed: {type(error).__name__}: {error}")
    log.error("a bug in romana-bus: trying again", consumer=name, exc_info=error)
    return "mistaken"
