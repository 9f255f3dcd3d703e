"""What the API server does not show any more is asked about again, before it is gone (`absence.py`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics, tasks
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.client import NETWORK_ERRORS, reason
from romana_bus.producers.kubernetes.pages import Again
from romana_bus.producers.kubernetes.responses import Action, Verdict

if TYPE_CHECKING:
    from romana_bus.events import Event
    from romana_bus.producers.kubernetes.pages import Pages, Watch

log = structlog.get_logger(__name__)


class SecondLooks:
    def __init__(self, pages: Pages, watch: Watch) -> None:
        self._pages, self._watch = pages, watch
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be doubted."""
        self._wake.set()

    async def keep_looking(self) -> None:
        """For ever."""
        pause = self._pages.limits.look
        while True:
            due = self._due()
            await tasks.until_set(self._wake, None if due is None else max(0.0, due - tasks.monotonic()))
            self._wake.clear()
            if (due := self._due()) is None or due > tasks.monotonic():
                continue
            await asyncio.sleep(pause)  # what else goes now is asked about in the same breath
            try:
                await self._look()
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
            return None  # a listing is on its way, which is a look as well
        return progress.absences.look_at(len(progress.held), tasks.monotonic())

    def _failed(self, why: str, pause: float) -> float:
        log.info("what is missing could not be asked about", resource=self._pages.kind.name, why=why)
        return min(max(pause, self._pages.limits.look) * 2, self._pages.limits.backoff[1])

    async def _look(self) -> None:
        """Raises Again, NETWORK_ERRORS."""
        state, kind, progress = self._pages.state, self._pages.kind, self._watch.progress
        about: list[frozenset[str]] = []

        def starting() -> None:
            if not progress.synced or not progress.absences.keys:
                raise Again(Verdict(Action.RETRY, "another list has begun"))
            self._say()
            about.append(observe.begin_second_look(state, kind))

        def counts() -> bool:
            return progress.about is about[0]

        def end() -> list[Event]:
            return observe.end_second_look(state, kind, version, tasks.monotonic()) if counts() else []

        try:
            version = await self._pages.all(starting=starting, counts=counts)
            await self._watch.tell(end)
        finally:
            if about:
                observe.give_up_second_look(state, kind, about[0])
        left = len(progress.absences.keys)
        log.info("looked again", resource=kind.name, doubted=len(about[0]), left=left, version=version)

    def _say(self) -> None:
        progress, resource = self._watch.progress, self._pages.kind.name
        doubted, held = len(progress.absences.keys), len(progress.held)
        say = log.error if progress.absences.are_many(held) else log.info
        say(
            "the API server does not show what the log has: looking again before it is gone",
            resource=resource, missing=doubted, of=held,
            hint=f"romana-bus resync {resource} --believe",
        )  # fmt: skip
