"""The open watches of all resources."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from romana_bus.lab.kubeapi.read.views import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.lab.kubeapi.read.watching import Watch
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.table import Change


class Watches:
    """The open watches. `plural`: the resource; '': all resources."""

    def __init__(self) -> None:
        self._open: dict[Watch, None] = {}

    @contextlib.contextmanager
    def open(self, watch: Watch) -> Iterator[None]:
        """Send changes to the watch while the context is open."""
        self._open[watch] = None
        try:
            yield
        finally:
            del self._open[watch]

    def of(self, plural: str = "") -> list[Watch]:
        return [watch for watch in self._open if plural in ("", watch.resource.plural)]

    def offer(self, resource: Resource, change: Change) -> None:
        """Send a change to the watches of its resource."""
        event = Event(change)
        for watch in self._open:
            if watch.resource == resource:
                watch.offer(event)

    def end(self, plural: str = "") -> None:
        """End the watches; queued lines are still sent."""
        for watch in self.of(plural):
            watch.end()
