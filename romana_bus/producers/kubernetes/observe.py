"""Decides which answers of the API server become events on the log. Pure.

    a list item or watch event   -> a fact, if a used field differs from what the log has
    the end of a listing         -> Synced; what the list lacks is doubted, or deleted (`absence.py`)
    a bookmark                   -> Synced, so that a restart continues from there

Listings are numbered, and facts carry the number of their listing. A listing decides about everything: its
objects are published whatever version the log has. Watch events that are older than what was published are
dropped. What was published before is in `progress.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.events import Event, Fact, ResourceListing, ResourceSynced, version_number
from romana_bus.producers.kubernetes.progress import Held, begin, bury, digest
from romana_bus.producers.kubernetes.size_limit import Unusable, fitted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from romana_bus.producers.kubernetes.objects import Kind
    from romana_bus.producers.kubernetes.progress import Progress, Watched

#: Seconds after which Synced is published again without a change, as a sign of life.
MARK_AGAIN = 60.0


# --- listings ---------------------------------------------------------------------


def begin_listing(state: Watched, kind: Kind, reason: str) -> list[Event]:
    """Starts a listing. Until `end_listing` the log may be behind for this resource."""
    progress = state.of(kind.name)
    progress.synced, progress.listed, progress.about, progress.unread = False, set(), None, False
    progress.believing = progress.believe and progress.asked not in (0, progress.answered)
    progress.answered = progress.asked or progress.answered
    begin(progress, progress.listing + 1, progress.rewound)
    return [
        ResourceListing(
            resource=kind.name, reason=reason, number=progress.listing, rewound=progress.rewound,
            asked=progress.answered,
        )
    ]  # fmt: skip


def listed(state: Watched, kind: Kind, items: Iterable[Any]) -> list[Event]:
    """The events for items of a list, in any order. During an absence check, entities that became doubted
    after its start are left to the next check."""
    progress = state.of(kind.name)
    events: list[Event] = []
    for item in items:
        fact = kind.seen(item, progress.listing)
        key, version = fact.key(), version_number(fact.resource_version)
        assert progress.listed is not None, "no listing has begun"
        progress.listed.add(key)
        if progress.about is not None and key not in progress.about and progress.absences.doubts(key):
            continue
        held = progress.held.get(key)
        if held is not None and held.listing == progress.listing and 0 < version < held.version:
            continue  # the watch has reported a newer version
        if held is None and 0 < version <= (progress.gone.get(key) or 0):
            continue  # the watch has reported its deletion
        progress.absences.forget(key)
        events += _publish(state, progress, fact, key, version)
    return events


def unread(state: Watched, kind: Kind, key: str, why: str) -> None:
    """Note an item of a list that cannot be read. `key`: '' if not even its name can be read."""
    progress = state.of(kind.name)
    progress.unusable.append(Unusable(key or "an object without a name", why))
    if key and progress.listed is not None:
        progress.listed.add(key)
    progress.unread |= not key


def rewound_to(state: Watched, kind: Kind, version: str) -> str:
    """Why the API server, which is at `version` now, was rewound; '' if it was not. If its version is lower
    than before, its store was restored from a backup, and the next listing has to publish everything
    again."""
    progress = state.of(kind.name)
    if not 0 < version_number(version) < progress.version:
        return ""
    progress.rewound = True
    return f"the API server went back to version {version}, before {progress.version}"


def end_listing(state: Watched, kind: Kind, version: str, now: float) -> list[Event]:
    """The list is complete at `version`. `now`: seconds of a clock that never goes back."""
    progress = state.of(kind.name)
    assert progress.listed is not None, "no listing has begun"
    events = _missing(progress, kind, progress.held.keys() - progress.listed, version, now)
    progress.listed, progress.synced, progress.rewound = None, True, False
    progress.place, progress.version = version, version_number(version)
    return [*events, _mark(progress, kind, now)]


def begin_check(state: Watched, kind: Kind) -> frozenset[str]:
    """Starts a second listing to confirm doubted entities; invalid once that set changes. Returns the set,
    which is `about` of the progress. The watch goes on: its events from now on are newer than the listing."""
    progress = state.of(kind.name)
    progress.listed, progress.unread = set(), False
    begin(progress, progress.listing + 1)
    progress.about = progress.absences.keys
    return progress.about


def end_check(state: Watched, kind: Kind, version: str, now: float) -> list[Event]:
    """The check is complete at `version`, and its items were published (`listed`)."""
    progress = state.of(kind.name)
    assert progress.listed is not None, "no listing has begun"
    assert progress.about is not None, "no check has begun"
    missing = (progress.about & progress.absences.keys & progress.held.keys()) - progress.listed
    events = _missing(progress, kind, missing, version, now)
    progress.listed = progress.about = None
    return [*events, _mark(progress, kind, now)]


def abandon_check(state: Watched, kind: Kind, about: frozenset[str]) -> None:
    """The check that was begun about this set failed: it decides nothing."""
    progress = state.of(kind.name)
    if progress.about is about:
        progress.listed = progress.about = None


def _missing(
    progress: Progress, kind: Kind, missing: AbstractSet[str], version: str, now: float
) -> list[Event]:
    """The tombstones for entities that a complete list lacks. An operator's --believe makes them all
    deleted."""
    if progress.unread:
        return []
    if progress.believing:
        progress.believing, deleted = False, sorted(missing)
        progress.absences.clear()
    else:
        deleted = progress.absences.listed(missing, len(progress.held), now)
    return [_tombstone(progress, kind, key, progress.held[key].uid, version) for key in deleted]


# --- the watch -----------------------------------------------------------------------


def changed(state: Watched, kind: Kind, type: str, item: Any, now: float = 0.0) -> list[Event]:
    """The events for one watch event: ADDED, MODIFIED or DELETED. `now`: seconds of a clock that never goes
    back. Raises ValueError for another type."""
    progress = state.of(kind.name)
    fact = kind.seen(item, progress.listing)
    key, version = fact.key(), version_number(fact.resource_version)
    held = progress.held.get(key)
    last = (progress.gone.get(key) or 0) + 1 if held is None else held.version
    if 0 < version < last or (kind.ordered and 0 < version <= progress.version):
        return []  # older than what was published
    if version:
        progress.place, progress.version = fact.resource_version, version
    if type in ("ADDED", "MODIFIED"):
        progress.absences.forget(key)
        return _publish(state, progress, fact, key, version)
    if type != "DELETED":
        raise ValueError(f"a watch event of type {type!r}")
    if held is None:
        return []
    if progress.absences.deleted(key, now):
        return [_tombstone(progress, kind, key, fact.uid, fact.resource_version)]
    # It is checked again. The doubt is published at once, so that nobody else takes the entity for deleted.
    return [] if progress.doubted else [_mark(progress, kind, now)]


def initial(state: Watched, kind: Kind, type: str, item: Any, now: float = 0.0) -> list[Event]:
    """The events for one initial event of a streaming list. They come in any order; an object that is deleted
    meanwhile comes as DELETED."""
    progress = state.of(kind.name)
    if type in ("ADDED", "MODIFIED"):
        return listed(state, kind, (item,))
    fact = kind.seen(item, progress.listing)
    if type != "DELETED":
        raise ValueError(f"a watch event of type {type!r}")
    assert progress.listed is not None, "no listing has begun"
    progress.listed.discard(fact.key())
    if progress.held.get(fact.key()) is None or not progress.absences.deleted(fact.key(), now):
        return []
    return [_tombstone(progress, kind, fact.key(), fact.uid, fact.resource_version)]


def bookmark(state: Watched, kind: Kind, version: str, now: float = 0.0) -> list[Event]:
    """A bookmark: nothing else happened up to `version`."""
    progress = state.of(kind.name)
    number = version_number(version)
    if number > progress.version or (version and not number):
        progress.place, progress.version = version, number
    return well(state, kind, now)


def well(state: Watched, kind: Kind, now: float) -> list[Event]:
    """The API server has just answered: Synced, if the position has changed, or a minute has passed."""
    progress = state.of(kind.name)
    due = progress.place != progress.marked or now - progress.marked_at >= MARK_AGAIN
    return [_mark(progress, kind, now)] if progress.synced and due else []


def settled(state: Watched, kind: Kind, now: float) -> list[Event]:
    """Synced, once all doubts of the last Synced are resolved."""
    progress = state.of(kind.name)
    due = progress.synced and progress.doubted and progress.about is None and not progress.absences.keys
    return [_mark(progress, kind, now)] if due else []


def resumes(state: Watched, kind: Kind) -> bool:
    """Whether a watch may continue from `place`: the log has a complete listing with the current fields, no
    listing is requested, and the doubted entities are known here."""
    progress = state.of(kind.name)
    return (
        progress.synced
        and progress.place not in ("", "0")
        and progress.fields == kind.fields
        and (not progress.doubted or bool(progress.absences.keys))
        and not wanted(state, kind)
    )


def wanted(state: Watched, kind: Kind) -> str:
    """The reason of a requested listing that has not begun yet, or ''. Any request that differs from the
    answered one counts, even with an earlier time: requests carry the times of different clocks."""
    progress = state.of(kind.name)
    return "" if progress.asked in (0, progress.answered) else progress.why


# --- one object ---------------------------------------------------------------------------------------


def _publish(state: Watched, progress: Progress, fact: Fact, key: str, version: int) -> list[Event]:
    """The fact, if the log does not have it already."""
    fact, body, unusable = fitted(fact, key)
    if unusable:
        progress.unusable.append(unusable)
        if not body:
            return []
    held, now = progress.held.get(key), Held(fact.uid, version, digest(body), progress.listing)
    progress.held[key] = now
    current = held is not None and (held.listing == now.listing or not progress.rewound)
    if held is not None and current and (held.uid, held.digest) == (now.uid, now.digest):
        return []
    progress.gone.drop(key)
    state.encoded.append((fact, body))
    return [fact]


def _tombstone(progress: Progress, kind: Kind, key: str, uid: str, version: str) -> Event:
    del progress.held[key]
    bury(progress, key, version_number(version))
    namespace, _, name = key.rpartition("/")
    return kind.gone(uid, version, progress.listing, namespace, name)


def _mark(progress: Progress, kind: Kind, now: float) -> ResourceSynced:
    progress.marked, progress.marked_at, progress.fields = progress.place, now, kind.fields
    progress.doubted = len(progress.absences.keys)
    return ResourceSynced(
        resource=kind.name, resource_version=progress.place, number=progress.listing,
        count=len(progress.held), doubted=progress.doubted, fields=kind.fields, asked=progress.answered,
    )  # fmt: skip
