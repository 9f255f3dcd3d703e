"""The loop of a reconciler: one pass of observe, plan and apply for every batch of events, and a full resync
from time to time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from romana_bus import tasks
from romana_bus.bus.api import BusError
from romana_bus.events import NODE
from romana_bus.runtime import alive
from romana_bus.runtime.loop import observe_delay, run_rebuilding
from romana_bus.runtime.reports import Reports

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.bus.clock import LogClock
    from romana_bus.runtime.consumer import Reconciler
    from romana_bus.runtime.fold import Fold
    from romana_bus.runtime.health import Health

log = structlog.get_logger(__name__)

S = TypeVar("S")


async def run_reconciler(store: Store, reconciler: Reconciler[S], health: Health | None = None) -> None:
    """Make actual what is desired, and report, until cancelled. Raises Closed."""

    async def once(fold: Fold[S]) -> str:
        def standing() -> dict[str, int]:
            parked = {"messages parked": len(fold.parked.kept)} if fold.parked else {}
            return reconciler.standing(fold.state) | parked

        reports = Reports(
            store, reconciler.node, reconciler.name, standing, lambda: reconciler.refused(fold.state)
        )
        reconciler.resync.on_request(fold.feed.interrupt)
        silence = await alive.answer(store, reports.current)
        try:
            await _reconcile(reconciler, store.clock, fold, reports)
        finally:
            reconciler.resync.on_request(None)
            await silence()
            with contextlib.suppress(TimeoutError, BusError):
                async with asyncio.timeout(5.0):
                    await reports.close()
            await reports.publisher.close()
        return "never"

    await run_rebuilding(store, reconciler, [NODE], once, health)


class _Resyncs:
    """When the next full resync is due, and how often passes have failed in a row."""

    def __init__(self, reconciler: Reconciler[Any]) -> None:
        self._reconciler = reconciler
        self._due, self._pause_until = 0.0, 0.0
        self.failures = 0

    @property
    def due(self) -> float:
        if self._reconciler.resync.requested:
            return min(self._due, self._pause_until)
        return self._due

    def done(self, started: float) -> None:
        self.failures = 0
        self._due = started + self._reconciler.tick
        ended = tasks.monotonic()
        self._pause_until = ended + max(self._reconciler.min_interval, 10 * (ended - started))

    def failed(self, full: bool) -> None:
        """Schedule a resync with backoff. A request waits for 1 s at most, since what was missing may have
        just appeared. A failed batch does not postpone a resync that is already due: batches may come faster
        than its backoff."""
        self.failures += 1
        if full or self.failures == 1:
            backoff = 0.1 * 2 ** min(self.failures, 8)
            self._due = tasks.monotonic() + backoff
            self._pause_until = tasks.monotonic() + min(backoff, 1.0)


async def _reconcile(reconciler: Reconciler[S], clock: LogClock, fold: Fold[S], reports: Reports) -> None:
    """One pass for every batch of events, and a full one whenever a resync is due."""
    resyncs = _Resyncs(reconciler)
    while True:
        started = tasks.monotonic()
        reports.turned()
        full = started >= resyncs.due
        if full:
            reconciler.resync.requested = False  # before it: changes during the resync request another one
        if (count := fold.take()) or full:
            covers = {role: position.seq for role, position in fold.feed.positions.items()}
            try:
                changes = await _pass(reconciler, fold, full)
            except Exception as error:  # noqa: BLE001  every error is reported, and the pass is tried again
                resyncs.failed(full)
                reason = str(error) or type(error).__name__
                log.error(
                    "could not be applied", consumer=reconciler.name, attempt=resyncs.failures, why=reason
                )
                await reports.failed(covers, reason, resyncs.failures)
            else:
                cause = fold.place if count and changes else ""
                reports.applied(covers, changes, int((tasks.monotonic() - started) * 1e6), cause)
                if count:
                    observe_delay(reconciler.name, clock, fold.newest)
                if full:
                    resyncs.done(started)
        if not resyncs.failures:  # until a full resync succeeds, something may still not be applied
            await reports.publish_if_due()
        due = resyncs.due if resyncs.failures else min(resyncs.due, reports.due)
        await fold.feed.wait(min(1.0, max(0.0, due - tasks.monotonic())))


async def _pass(reconciler: Reconciler[S], fold: Fold[S], full: bool) -> int:
    """Observe, plan, apply; returns the number of changes."""
    delta = reconciler.plan(fold.state, await reconciler.observe(fold.state, full))
    return await reconciler.apply(delta) if delta else 0
