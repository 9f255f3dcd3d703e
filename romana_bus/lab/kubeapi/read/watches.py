"""The watches that are open, of all resources, and what is done to many of them at once."""

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
    """`plural` names a resource; '' is all of them."""

    def __init__(self) -> None:
        self._open: dict[Watch, None] = {}

    @contextlib.contextmanager
    def open(self, watch: Watch) -> Iterator[None]:
        """It hears everything as long as this lasts."""
        self._open[watch] = None
        try:
            yield
        finally:
            del self._open[watch]

    def of(self, plural: str = "") -> list[Watch]:
        return [watch for watch in self._open if plural in ("", watch.resource.plural)]

    def offer(self, resource: Resource, change: Change) -> None:
        """It has happened."""
        event = Event(change)
        for watch in self._open:
            if watch.resource == resource:
                watch.offer(event)

    def show(self, resource: Resource, change: Change) -> None:
        """Whether it has happened or not, and also where it is no news."""
        event = Event(change)
        for watch in self._open:
            if watch.resource == resource:
                watch.show(event)

    def send(self, line: bytes, plural: str = "") -> None:
        for watch in self.of(plural):
            watch.send(line)

    def end(self, plural: str = "") -> None:
        """After what they have still to be sent."""
        for watch in self.of(plural):
            watch.end()

    def skip(self, version: int) -> None:
        """What happens up to it is no news to any of them."""
        for watch in self._open:
            watch.skip(version)
