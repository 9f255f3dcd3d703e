"""How a reconciler runs: every batch of events is one pass of observe, plan and apply; now and then with a
full look at what is outside."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from romana_bus import tasks
from romana_bus.bus.api import BusError
from romana_bus.events import NODE
from romana_bus.runtime.loop import again_and_again, observe_delay
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

    await again_and_again(store, reconciler, [NODE], once, health)


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
                    observe_delay(reconciler.name, clock, fold.newest)
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
