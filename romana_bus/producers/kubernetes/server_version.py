"""Where the API server stands: asked soon after a watch goes on from a version, and when it has been quiet.

A watch that says nothing may be one of a version that the server has yet to reach: where its store was
restored from a backup, for ever. That ends all connections, so whoever makes one anew asks: later the store
may have gone past that version, with another story. And a connection may be dead without either side knowing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING

from romana_bus import tasks
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.anchors import anchors, other_story
from romana_bus.producers.kubernetes.client import NETWORK_ERRORS, reason
from romana_bus.producers.kubernetes.pages import Again

if TYPE_CHECKING:
    from romana_bus.producers.kubernetes.pages import Pages, Watch


class Standing:
    """`heard`: when the server has said something last, or answered this question."""

    def __init__(self, pages: Pages, watch: Watch) -> None:
        self._pages, self._watch = pages, watch
        self.heard = tasks.monotonic()
        self._resumed = math.inf  # when the answer is due because a watch has gone on
        self._wake = asyncio.Event()

    def heard_now(self) -> None:
        self.heard = tasks.monotonic()

    def resumed(self) -> None:
        """A watch has gone on."""
        self._resumed = tasks.monotonic() + self._pages.limits.look
        self._wake.set()

    @property
    def _due(self) -> float:
        return min(self._resumed, self.heard + self._pages.limits.quiet)

    async def keep_asking(self) -> None:
        """For ever."""
        while True:
            await tasks.until_set(self._wake, max(0.0, self._due - tasks.monotonic()))
            self._wake.clear()
            if tasks.monotonic() < self._due:
                continue
            if self._watch.progress.synced:
                try:
                    await self._ask()
                    continue
                except Again as again:
                    self._watch.note("retry", again.verdict.why)
                except NETWORK_ERRORS as error:
                    self._watch.note("network", reason(error))
            await asyncio.sleep(self._pages.limits.quiet / 10)

    async def _ask(self) -> None:
        state, kind = self._pages.state, self._pages.kind
        resumed, progress = self._resumed < math.inf, self._watch.progress
        version = await self._pages.where()
        self.heard, self._resumed = tasks.monotonic(), math.inf
        why = observe.went_back(state, kind, version) if progress.synced else ""
        for anchor in anchors(progress) if resumed and progress.synced and not why else ():
            with contextlib.suppress(Again):  # of a server that cannot be asked so
                why = why or other_story(progress, anchor, await self._pages.version_of(anchor.key))
        if not progress.synced:
            return  # it is being listed by now
        if why:
            self._watch.relist(why)
            return
        self._watch.well()
        await self._watch.tell(lambda: observe.well(state, kind, tasks.monotonic()))
