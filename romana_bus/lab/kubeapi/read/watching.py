"""One open watch: its queue of lines, its bookmarks, its end.

Lines are rendered once per event and shared by all watches. A watch is cut off when `limit` lines are queued
for it, as on the real server, so a slow client does not delay others.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.lab.kubeapi import wire
from romana_bus.lab.kubeapi.read.listing import shown
from romana_bus.lab.kubeapi.read.views import Event
from romana_bus.lab.kubeapi.status import too_large_version
from romana_bus.lab.kubeapi.store import watch_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from romana_bus.lab.kubeapi.calls import Call
    from romana_bus.lab.kubeapi.read.selectors import Selection
    from romana_bus.lab.kubeapi.read.views import View
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.store import Store

#: In this many seconds before its end a watch gets a bookmark every second (cacher, nextBookmarkTime).
_NEAR_THE_END = 2.0

#: The most lines that are joined into one write.
_BATCH = 256


@dataclass(eq=False)
class Watch:
    """One watch. `backlog`: lines to send before any change. `after`: changes up to this version are not
    sent, because they are in the backlog or the client has them. `view`: how objects are shown. `chosen`: the
    selected objects. `timeout`, `bookmark_interval`: seconds; inf: none. `current`: returns the store's
    version. `cut_off`: called if the client is too slow."""

    call: Call
    view: View
    chosen: Selection
    after: int
    backlog: Iterator[bytes]
    current: Callable[[], int]
    cut_off: Callable[[], None]
    timeout: float = math.inf
    bookmark_interval: float = math.inf
    limit: int = 10_000
    _lines: deque[bytes] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: bool = False

    def __post_init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._end = self._clock() + self.timeout
        self._bookmark = self._next_bookmark()

    @property
    def resource(self) -> Resource:
        return self.call.resource

    def offer(self, event: Event) -> None:
        """Queue the line of a change of this watch's resource, if it is selected."""
        if event.change.version > self.after and event.change.key.startswith(self.call.prefix):
            self.send(line_for(event, self.view, self.chosen))

    def send(self, line: bytes) -> None:
        if self._ended or not line:
            return
        self._lines.append(line)
        if len(self._lines) > self.limit:
            self._lines.clear()
            self.end()
            self.cut_off()
        self._wake.set()

    def end(self) -> None:
        """End the watch; queued lines are still sent."""
        self._ended = True
        self._wake.set()

    async def next(self) -> bytes:
        """The next lines to send; waits until there are some. b'' at the end of the watch."""
        while True:
            if lines := self._take():
                return lines
            if self._ended or self._clock() >= self._end:
                return b""
            if self._clock() >= self._bookmark:
                self._bookmark = self._next_bookmark()
                # The real server sends no bookmark either if the version has not moved since the watch began
                # (cacheWatcher, process). There it always moves: see upkeep.renew_lease.
                if self.current() > self.after:
                    return self.view.bookmark(self.current())
            await self._sleep(min(self._end, self._bookmark))

    def _take(self) -> bytes:
        if lines := b"".join(islice(self.backlog, _BATCH)):
            return lines
        count = min(len(self._lines), _BATCH)
        return b"".join(self._lines.popleft() for _ in range(count))

    async def _sleep(self, until: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout_at(None if math.isinf(until) else until):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _next_bookmark(self) -> float:
        if math.isinf(self.bookmark_interval):
            return math.inf
        now = self._clock()
        near_the_end = self._end - _NEAR_THE_END
        return min(now + self.bookmark_interval, near_the_end if now < near_the_end else now + 1.0)


def line_for(event: Event, view: View, chosen: Selection) -> bytes:
    """The line of `event` for a watch that selects `chosen`; b'' if the object matched neither before nor
    after. An object that begins to match is ADDED; one that no longer matches is DELETED, with its last
    matching state (cacher, convertToWatchEvent)."""
    if not chosen:
        return event.line_in(view)
    change = event.change
    was = change.before is not None and chosen.matches(event.item_before)
    if change.type == "DELETED":
        return event.line_in(view) if was else b""
    now = chosen.matches(event.item)
    if was and not now and change.before is not None:
        return watch_line("DELETED", view.alone(wire.at_version(change.before, change.version)))
    if not now:
        return b""
    return watch_line("MODIFIED" if was else "ADDED", view.alone(change.raw))


class Beginning(NamedTuple):
    """The beginning of a watch: `lines` contain everything up to `version`."""

    version: int
    lines: Iterator[bytes]


def beginning(store: Store, call: Call, view: View, chosen: Selection) -> Beginning:
    """The beginning of the watch that `call` asks for. Raises Compacted, and Refused (504) for a streaming
    list at a version that the store has not reached."""
    version = call.number("resourceVersion")
    streaming = call.flag("sendInitialEvents")
    if streaming and version > store.version:
        raise too_large_version(version, store.version)
    if streaming or not (version or "sendInitialEvents" in call.query):
        marked = streaming and call.flag("allowWatchBookmarks")
        return Beginning(store.version, _initial(store, call, view, chosen, marked=marked))
    version = version or store.version
    changes = store.changes(call.resource, version)
    own = (Event(change) for change in changes if change.key.startswith(call.prefix))
    lines = filter(None, (line_for(event, view, chosen) for event in own))
    until = changes[-1].version if changes else version
    return Beginning(until, iter(list(lines)) if call.view == "table" else lines)


def _initial(store: Store, call: Call, view: View, chosen: Selection, *, marked: bool) -> Iterator[bytes]:
    """ADDED for every object; if `marked`, also the final bookmark."""
    version = store.version  # changes that happen while this is sent are newer, and follow the bookmark
    there = shown(store, call, chosen, version)
    lines: Iterable[bytes] = (watch_line("ADDED", view.alone(raw)) for raw in there.raws)
    if call.view == "table":
        lines = list(lines)  # a table sends its columns with the row that is rendered first
    return chain(lines, [view.bookmark(version, initial_end=True)] if marked else [])
