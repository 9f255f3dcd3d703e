"""Where the API server stands, asked when it has been quiet.

A watch that says nothing may be one of a version that the server has yet to reach: where its store was
restored from a backup, for ever. And a connection may be dead without either side knowing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from romana_bus import tasks
from romana_bus.producers import observe
from romana_bus.producers.access import NETWORK_ERRORS, reason
from romana_bus.producers.pages import Again

if TYPE_CHECKING:
    from romana_bus.producers.pages import Pages
    from romana_bus.producers.watch import ResourceWatch


class Standing:
    """`heard`: when the server has said something last, or answered this question."""

    def __init__(self, pages: Pages, watch: ResourceWatch) -> None:
        self._pages, self._watch = pages, watch
        self.heard = tasks.monotonic()

    def heard_now(self) -> None:
        self.heard = tasks.monotonic()

    async def keep_asking(self) -> None:
        """For ever."""
        quiet = self._pages.limits.quiet
        while True:
            await asyncio.sleep(max(quiet / 10, self.heard + quiet - tasks.monotonic()))
            if tasks.monotonic() - self.heard >= quiet and self._watch.progress.synced:
                try:
                    await self._ask()
                except Again as again:
                    self._watch.note("retry", again.verdict.why)
                except NETWORK_ERRORS as error:
                    self._watch.note("network", reason(error))

    async def _ask(self) -> None:
        state, kind = self._pages.state, self._pages.kind
        version = await self._pages.where()
        self.heard_now()
        if not self._watch.progress.synced:
            return  # it is being listed by now
        if behind := observe.went_back(state, kind, version):
            self._watch.relist(behind)
            return
        self._watch.well()
        await self._watch.tell(lambda: observe.well(state, kind, tasks.monotonic()))
