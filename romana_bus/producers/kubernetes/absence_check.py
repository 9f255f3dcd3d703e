"""Lists a resource again while entities are doubted, before they count as deleted (`absence.py`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics, tasks
from romana_bus.kubernetes.api import NETWORK_ERRORS, reason
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.pages import Again
from romana_bus.producers.kubernetes.responses import Action, Verdict

if TYPE_CHECKING:
    from romana_bus.events import Event
    from romana_bus.producers.kubernetes.pages import Pages, Watch

log = structlog.get_logger(__name__)


class AbsenceChecks:
    """The absence checks of one resource, beside its watch."""

    def __init__(self, pages: Pages, watch: Watch) -> None:
        self._pages, self._watch = pages, watch
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Check soon whether something is doubted."""
        self._wake.set()

    async def keep_looking(self) -> None:
        """List again whenever something is doubted, until cancelled."""
        pause = self._pages.limits.look
        while True:
            due = self._due()
            await tasks.until_set(self._wake, None if due is None else max(0.0, due - tasks.monotonic()))
            self._wake.clear()
            if (due := self._due()) is None or due > tasks.monotonic():
                continue
            await asyncio.sleep(pause)  # so that one list covers all that disappears at the same time
            try:
                await self._check()
                pause = self._pages.limits.look
            except Again as again:
                pause = self._failed(again.verdict.why, pause)
            except NETWORK_ERRORS as error:
                pause = self._failed(reason(error), pause)

    def _due(self) -> float | None:
        progress = self._watch.progress
        doubted = len(progress.absences.keys)
        metrics.DOUBTED.labels(self._pages.kind.name).set(doubted)
        if not progress.synced:
            return None  # the listing that is running decides too
        return progress.absences.look_at(len(progress.held), tasks.monotonic())

    def _failed(self, why: str, pause: float) -> float:
        log.info("missing entities could not be checked", resource=self._pages.kind.name, why=why)
        return min(max(pause, self._pages.limits.look) * 2, self._pages.limits.backoff[1])

    async def _check(self) -> None:
        """One listing. Raises Again, NETWORK_ERRORS."""
        state, kind, progress = self._pages.state, self._pages.kind, self._watch.progress
        about: list[frozenset[str]] = []

        def starting() -> None:
            if not progress.synced or not progress.absences.keys:
                raise Again(Verdict(Action.RETRY, "another list has begun"))
            self._log()
            about.append(observe.begin_check(state, kind))

        def counts() -> bool:
            return progress.about is about[0]

        def end() -> list[Event]:
            return observe.end_check(state, kind, version, tasks.monotonic()) if counts() else []

        try:
            version = await self._pages.all(starting=starting, counts=counts)
            await self._watch.tell(end)
        finally:
            if about:
                observe.abandon_check(state, kind, about[0])
        left = len(progress.absences.keys)
        log.info("checked again", resource=kind.name, doubted=len(about[0]), left=left, version=version)

    def _log(self) -> None:
        progress, resource = self._watch.progress, self._pages.kind.name
        doubted, held = len(progress.absences.keys), len(progress.held)
        write = log.error if progress.absences.are_many(held) else log.info
        write(
            "the API server does not show entities of the log: checking again before they count as deleted",
            resource=resource, missing=doubted, of=held,
            hint=f"romana-bus resync {resource} --believe",
        )  # fmt: skip
