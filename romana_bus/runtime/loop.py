"""THE loop that every consumer runs in: message -> sequence guard -> evolve -> decide or plan -> publish
or apply. A consumer is its functions and what it reads (`consumer.py`); everything that waits is here and,
for reconcilers, in `reconcile.py`.

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
from typing import TYPE_CHECKING, TypeVar

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
from romana_bus.runtime.election import Candidate, Leadership
from romana_bus.runtime.fold import Failing, Fold
from romana_bus.runtime.health import LEADER, STANDBY, Health
from romana_bus.runtime.reports import FlawReports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from romana_bus.bus.api import Position, Store
    from romana_bus.bus.clock import LogClock
    from romana_bus.runtime.consumer import Consumer, Decider, Projection, Writer

log = structlog.get_logger(__name__)

S = TypeVar("S")

#: Seconds before state is rebuilt after it became void; grows while nothing works; the most where the
#: mistake is ours.
AGAIN, AGAIN_AT_MOST, MISTAKEN = 0.05, 2.0, 30.0


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
    reports, candidate = FlawReports(store, writer.name), Candidate(store, writer.writes, holder)

    async def once(fold: Fold[S]) -> str:
        health.stand(writer.name, STANDBY)
        telling: asyncio.Task[None] | None = None
        orderly = False
        try:
            leadership = await candidate.elected(fold.feed, lambda: fold.term, fold.take)
            health.stand(writer.name, LEADER)
            telling = asyncio.create_task(reports.keep_up(fold.found), name=f"flaws {writer.name}")
            fold.whole = await fold.say_again(store, leadership.publish)
            await govern(fold, leadership)
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
            await tasks.stop(telling)
            await candidate.leave(orderly)
        return "lease lost"

    health.stand(writer.name, "")
    health.check(f"{writer.name} writes", candidate.problem)
    try:
        await again_and_again(store, writer, [writer.writes], once, health)
    finally:
        health.check(f"{writer.name} writes", None)
        await reports.close()


async def _govern(decider: Decider[S], clock: LogClock, fold: Fold[S], leadership: Leadership) -> None:
    """Decide whatever there is to decide, for as long as the lease is ours."""
    while not leadership.lost.is_set():
        leadership.writer.check()
        fold.take()
        for part in decider.decide(fold.state):
            await leadership.publish(part)
            observe_delay(decider.name, clock, fold.newest)
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

    await again_and_again(store, projection, [], once, health)


def observe_delay(consumer: str, clock: LogClock, since: int) -> None:
    if since:
        metrics.TIME_TO_APPLY.labels(consumer).observe(max(0, clock.now() - since) / 1e6)


async def again_and_again(
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
        metrics.BOOTS.labels(name, why).inc()
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
