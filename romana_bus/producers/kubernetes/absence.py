"""What the API server does not show any more, and when that is believed. Pure.

A single answer that lacks something may be wrong: a proxy's, or that of a server with an empty cache. So an
entity that a listing lacks is gone only when the next listing lacks it too; and where much of a resource
would go at once (`events.is_much`), only when MORE listings over SURELY seconds do. A watch's word that
something was deleted is believed, but not AT_ONCE times a second.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.events import is_much

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

ENOUGH, MORE = 2, 3
SURELY = 30.0
#: Deletions in a second by a watch's word alone.
AT_ONCE = 20


class Absence(NamedTuple):
    """How often something was not shown, and since when (seconds)."""

    times: int
    since: float


class Absences:
    """Of one resource. Times: seconds, of a clock that never goes back."""

    def __init__(self) -> None:
        self._doubted: dict[str, Absence] = {}
        self._deletions: deque[float] = deque(maxlen=AT_ONCE)

    @property
    def keys(self) -> frozenset[str]:
        """What is doubted."""
        return frozenset(self._doubted)

    def doubts(self, key: str) -> bool:
        return key in self._doubted

    def forget(self, key: str) -> None:
        """It is there."""
        if self._doubted:
            self._doubted.pop(key, None)

    def clear(self) -> None:
        self._doubted.clear()

    def listed(self, missing: AbstractSet[str], held: int, now: float) -> list[str]:
        """A complete listing lacks `missing`, of `held` entities on the log. Gives those that are gone."""
        for key in missing:
            times, since = self._doubted.get(key, Absence(0, now))
            self._doubted[key] = Absence(times + 1, since)
        gone = sorted(key for key in missing if self._believed(self._doubted[key], held, now))
        for key in gone:
            del self._doubted[key]
        return gone

    def _believed(self, absence: Absence, held: int, now: float) -> bool:
        if not self.are_many(held):
            return absence.times >= ENOUGH
        return absence.times >= MORE and now - absence.since >= SURELY

    def are_many(self, held: int) -> bool:
        """So many of `held` are doubted that a person should know."""
        return is_much(len(self._doubted), held)

    def deleted(self, key: str, now: float) -> bool:
        """The watch says that it was deleted: whether that is believed."""
        if key in self._doubted:
            del self._doubted[key]  # the second who says so
        elif len(self._deletions) == AT_ONCE and now - self._deletions[0] < 1.0:
            self._doubted[key] = Absence(1, now)
            return False
        self._deletions.append(now)
        return True

    def look_at(self, held: int, now: float) -> float | None:
        """When to list again; None where nothing is doubted."""
        if not self._doubted:
            return None
        first = min(absence.since for absence in self._doubted.values())
        if self.are_many(held) and all(one.times >= ENOUGH for one in self._doubted.values()):
            return max(now, first + SURELY)
        return now
