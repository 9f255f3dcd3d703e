"""Asks the API server for its version soon after a watch resumes, and when the watch has been quiet.

A quiet watch may wait for a version that the server has not reached: if its store was restored from a backup,
for ever. A restore ends all connections, so the question is asked after each new one; later the store may be
past that version, with other contents. And a connection may be dead without either side noticing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING

from romana_bus import tasks
from romana_bus.kubernetes.api import NETWORK_ERRORS, reason
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.anchors import anchors, contradiction
from romana_bus.producers.kubernetes.pages import Again

if TYPE_CHECKING:
    from romana_bus.producers.kubernetes.pages import Pages, Watch


class ServerVersion:
    """`heard`: when the server sent something last, or answered this question."""

    def __init__(self, pages: Pages, watch: Watch) -> None:
        self._pages, self._watch = pages, watch
        self.heard = tasks.monotonic()
        self._resumed = math.inf  # when to ask after a watch has resumed
        self._wake = asyncio.Event()

    def answered(self) -> None:
        self.heard = tasks.monotonic()

    def watch_resumed(self) -> None:
        """Ask soon."""
        self._resumed = tasks.monotonic() + self._pages.limits.look
        self._wake.set()

    @property
    def _due(self) -> float:
        return min(self._resumed, self.heard + self._pages.limits.quiet)

    async def keep_asking(self) -> None:
        """Ask whenever it is due, until cancelled."""
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
        why = observe.rewound_to(state, kind, version) if progress.synced else ""
        for anchor in anchors(progress) if resumed and progress.synced and not why else ():
            with contextlib.suppress(Again):  # a server may not support this request
                why = why or contradiction(progress, anchor, await self._pages.version_of(anchor.key))
        if not progress.synced:
            return  # a listing has begun meanwhile
        if why:
            self._watch.relist(why)
            return
        self._watch.well()
        await self._watch.tell(lambda: observe.well(state, kind, tasks.monotonic()))
