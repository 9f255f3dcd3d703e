"""The log's time, which is the only one that anybody here goes by.

Now is what the server's clock said last, plus the monotonic time since then: its timestamp of the newest
message, or its answer to a question, which is asked every second. So a wall clock decides nothing, and all
processes of a cluster have one time. It never goes back: where the server's clock does, this one goes on at
its own pace. Order between events is by sequence, never by time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics, tasks

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

SECOND = 1_000_000
#: A difference of clocks that a person should know of, and that is no matter of latency: µs.
STEP = 5 * SECOND
#: What a writer says of the time is believed to be that much ahead of the server's at most: µs.
AHEAD = 10 * 365 * 86_400 * SECOND


def wall() -> int:
    """This machine's clock, µs since the epoch: for comparing, and until the log has said what time it is."""
    return time.time_ns() // 1000


class LogClock:
    """One for each store. `monotonic`: seconds."""

    def __init__(self, monotonic: Callable[[], float] | None = None, wall: Callable[[], int] = wall) -> None:
        self._monotonic, self._wall = monotonic or tasks.monotonic, wall
        self._ahead: int | None = None  # of the monotonic clock, µs
        self._latest = 0
        self._difference = 0  # of this machine's clock, as it was said last

    def now(self) -> int:
        """µs since the epoch; never less than before."""
        if self._ahead is None:
            return self._wall()
        self._latest = max(self._latest, self._ticks() + self._ahead)
        return self._latest

    def heard(self, stored: int, written: int = 0) -> None:
        """A message was stored at `stored`, by the server's clock, and `written` at that time by its writer's
        word, 0 where that does not count. It may have been on the log for long."""
        ahead = max(stored, min(written, stored + AHEAD)) - self._ticks()
        if self._ahead is None or ahead > self._ahead:
            self._set(ahead)

    def asked(self, said: int) -> None:
        """The server said just now that it is `said`."""
        ahead = said - self._ticks()
        if self._ahead is None or ahead > self._ahead - STEP:
            self._set(ahead)

    def _set(self, ahead: int) -> None:
        if self._ahead is not None and ahead > self._ahead + STEP:
            log.warning("the log's clock went ahead", seconds=(ahead - self._ahead) / SECOND)
        self._ahead = ahead
        difference = self._wall() - self.now()
        metrics.CLOCK_DIFFERENCE.set(difference / SECOND)
        if abs(difference - self._difference) > STEP:
            self._difference = difference
            log.warning("this machine's clock is not the log's, which counts", seconds=difference / SECOND)

    def _ticks(self) -> int:
        return int(self._monotonic() * SECOND)
