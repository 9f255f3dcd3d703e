"""Decides when an entity that the API server no longer shows counts as deleted. Pure.

A single answer that lacks an entity may be wrong: a proxy's, or that of a server with an empty cache. So a
missing entity is first doubted, and is deleted only if the next listing lacks it too. If a large part of a
resource is missing (`events.is_much`), MORE listings over SURELY seconds have to lack it. A watch's DELETED
is believed, but at most AT_ONCE times a second.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.events import is_much

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

ENOUGH, MORE = 2, 3
SURELY = 30.0
#: Deletions per second that are believed without a second answer.
AT_ONCE = 20


class Absence(NamedTuple):
    """How many listings lacked an entity, and since when (seconds)."""

    times: int
    since: float


class Absences:
    """The doubted entities of one resource. Times: seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._doubted: dict[str, Absence] = {}
        self._deletions: deque[float] = deque(maxlen=AT_ONCE)

    @property
    def keys(self) -> frozenset[str]:
        """The doubted entities."""
        return frozenset(self._doubted)

    def doubts(self, key: str) -> bool:
        return key in self._doubted

    def forget(self, key: str) -> None:
        """The API server shows the entity."""
        if self._doubted:
            self._doubted.pop(key, None)

    def clear(self) -> None:
        self._doubted.clear()

    def listed(self, missing: AbstractSet[str], held: int, now: float) -> list[str]:
        """Note that a complete listing lacks `missing`, of `held` entities on the log; returns those that
        count as deleted now."""
        for key in missing:
            times, since = self._doubted.get(key, Absence(0, now))
            self._doubted[key] = Absence(times + 1, since)
        deleted = sorted(key for key in missing if self._believed(self._doubted[key], held, now))
        for key in deleted:
            del self._doubted[key]
        return deleted

    def _believed(self, absence: Absence, held: int, now: float) -> bool:
        if not self.are_many(held):
            return absence.times >= ENOUGH
        return absence.times >= MORE and now - absence.since >= SURELY

    def are_many(self, held: int) -> bool:
        """Whether so many of `held` entities are doubted that a person should know."""
        return is_much(len(self._doubted), held)

    def deleted(self, key: str, now: float) -> bool:
        """Note a watch's DELETED; returns whether it is believed."""
        if key in self._doubted:
            del self._doubted[key]  # the second answer that says so
        elif len(self._deletions) == AT_ONCE and now - self._deletions[0] < 1.0:
            self._doubted[key] = Absence(1, now)
            return False
        self._deletions.append(now)
        return True

    def look_at(self, held: int, now: float) -> float | None:
        """When to list again, or None if nothing is doubted."""
        if not self._doubted:
            return None
        first = min(absence.since for absence in self._doubted.values())
        if self.are_many(held) and all(absence.times >= ENOUGH for absence in self._doubted.values()):
            return max(now, first + SURELY)
        return now
