"""The log's time, the only one that decisions use.

Now is the server's clock, as this process heard it last, plus the monotonic time since then. It is heard from
the timestamp of the newest message, and from a request every second. So no decision depends on a wall clock,
and all processes of a cluster have the same time. It never goes back: if the server's clock does, this one
goes on at its own pace. Events are ordered by sequence, never by time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics, tasks
from romana_bus.events.base import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

#: A difference between clocks that is logged, since latency cannot explain it: µs.
STEP = 5 * SECOND
#: A writer's time counts up to this much ahead of the server's: µs.
AHEAD = 10 * 365 * 86_400 * SECOND


def wall() -> int:
    """This machine's clock, µs since the epoch: to compare with, and until the log's time is known."""
    return time.time_ns() // 1000


class LogClock:
    """One for each store. `monotonic`: seconds."""

    def __init__(self, monotonic: Callable[[], float] | None = None, wall: Callable[[], int] = wall) -> None:
        self._monotonic, self._wall = monotonic or tasks.monotonic, wall
        self._ahead: int | None = None  # of the monotonic clock, µs
        self._latest = 0
        self._difference = 0  # of this machine's clock, as it was logged last

    def now(self) -> int:
        """µs since the epoch; never less than before."""
        if self._ahead is None:
            return self._wall()
        self._latest = max(self._latest, self._ticks() + self._ahead)
        return self._latest

    def heard(self, stored: int, written: int = 0) -> None:
        """Note the times of a message (µs): `stored` by the server's clock, `written` by its writer's; 0 if
        the writer's does not count. The message may be old."""
        ahead = max(stored, min(written, stored + AHEAD)) - self._ticks()
        if self._ahead is None or ahead > self._ahead:
            self._set(ahead)

    def asked(self, now: int) -> None:
        """Note an answer of the server: its clock says `now` (µs)."""
        ahead = now - self._ticks()
        if self._ahead is None or ahead > self._ahead - STEP:
            self._set(ahead)

    def _set(self, ahead: int) -> None:
        if self._ahead is not None and ahead > self._ahead + STEP:
            log.warning("the log's clock jumped forward", seconds=(ahead - self._ahead) / SECOND)
        self._ahead = ahead
        difference = self._wall() - self.now()
        metrics.CLOCK_DIFFERENCE.set(difference / SECOND)
        if abs(difference - self._difference) > STEP:
            self._difference = difference
            log.warning(
                "this machine's clock differs from the log's, which counts", seconds=difference / SECOND
            )

    def _ticks(self) -> int:
        return int(self._monotonic() * SECOND)
