"""One direction of a connection: what is put in comes out some time later, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from tests.simulation.loop import NEUTRAL

if TYPE_CHECKING:
    from collections.abc import Callable


class Pipe:
    """What is on its way, in order: each thing is done when it has arrived."""

    def __init__(self, latency: Callable[[], float]) -> None:
        self._latency = latency
        self._way: deque[tuple[float, Callable[[], None]]] = deque()
        self._due: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def put(self, do: Callable[[], None]) -> None:
        now = self._loop.time()
        last = self._way[-1][0] if self._way else 0.0
        self._way.append((max(last, now + self._latency()), do))
        self._arm()

    def drop(self) -> None:
        self._way.clear()
        if self._due:
            self._due.cancel()
            self._due = None

    def _arm(self) -> None:
        if self._due is None and self._way:
            self._due = self._loop.call_at(self._way[0][0], self._arrived, context=NEUTRAL)

    def _arrived(self) -> None:
        self._due = None
        now = self._loop.time()
        while self._way and self._way[0][0] <= now:
            self._way.popleft()[1]()
        self._arm()
