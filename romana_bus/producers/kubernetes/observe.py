"""What of the API server's story has to go on the log. Pure.

For each resource: which entities the log knows, in which version and with which fields (as a digest), and
how far it has come. From there:

    a list item or watch event   -> a fact, if a field in use differs from what the log has
    the end of a listing         -> Synced; what the list lacks is doubted, or gone (`absence.py`)
    a bookmark                   -> Synced, so that a restart goes on from there

Listings are numbered, and facts carry the number of theirs. A listing is a new word on everything: what it
shows is told whatever version the log has of it. What a watch says that is older than what was told is left
out. The same state comes out of the log itself (`evolve`), so a standby, or the process after a restart,
knows what its predecessor had published and where its watch was.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.events import (
    Event,
    Fact,
    ListingAsked,
    ObjectGone,
    ObjectSeen,
    ResourceListing,
    ResourceSynced,
    codec,
    version_number,
)
from romana_bus.producers.kubernetes.absence import Absences
from romana_bus.producers.kubernetes.objects import KIND_OF
from romana_bus.producers.kubernetes.size_limit import Unusable, fitted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from romana_bus.producers.kubernetes.objects import Kind

#: Deletions that are remembered of one listing, so that an older event brings nothing back.
REMEMBERED = 10_000
#: Seconds after which a mark is told again though nothing has changed: it says that all is well.
MARK_AGAIN = 60.0


class Held(NamedTuple):
    """What the log has of one entity, and the number of the listing that it was told by."""

    uid: str
    version: int
    digest: bytes
    listing: int = 0


class Progress:
    """One resource. `place`: the resource version up to which everything is on the log or did not matter, if
    `synced`; `version`: that as a number, 0 where it is none; `listing`: the number of the newest listing;
    `fields`: with which set of fields it was synced."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}  # namespace/name
        self.gone: dict[str, int] = {}  # the same -> version of its deletion, of this listing
        self.place, self.version = "", 0
        self.listing = 0
        self.synced = False
        self.fields = ""
        self.marked, self.marked_at = "", 0.0  # the place of the last Synced; when it was told
        self.listed: set[str] | None = None
        self.about: frozenset[str] | None = None  # of a second look: what it is to decide about
        self.unread = False  # the list had items that cannot be read: it says nothing about absence
        self.rewound = False  # until a listing is complete, everything is told anew
        self.unusable: list[Unusable] = []  # objects that were left out, or cut, and why
        self.absences = Absences()
        self.doubted = 0  # how many the log's mark says are doubted
        self.asked, self.why, self.believe = 0, "", False  # the newest wish to list again
        self.answered = 0  # the one that a listing has answered, or is answering
        self.believing = False  # what the present listing lacks is gone: an operator says so


class Watched:
    """All resources, by the kind's name."""

    def __init__(self) -> None:
        self.progress: dict[str, Progress] = {}

    def of(self, name: str) -> Progress:
        if name not in self.progress:
            self.progress[name] = Progress()
        return self.progress[name]


# --- from the log ------------------------------------------------------------------------------------


def evolve(state: Watched, event: Event, _seq: int = 0) -> None:
    match event:
        case ListingAsked():
            progress = state.of(event.resource)
            progress.asked, progress.why = event.at, event.reason or "somebody asked for it"
            progress.believe = event.believe
        case ResourceListing():
            progress = state.of(event.resource)
            progress.synced, progress.answered, progress.rewound = False, event.asked, event.rewound
            _begin(progress, event.number, event.rewound)
        case ResourceSynced():
            progress = state.of(event.resource)
            progress.synced, progress.fields, progress.rewound = True, event.fields, False
            progress.answered, progress.doubted = event.asked, event.doubted
            progress.listing = max(progress.listing, event.number)
            progress.place = progress.marked = event.resource_version
            progress.version = version_number(event.resource_version)
        case ObjectSeen() | ObjectGone():
            _hold(state.of(event.resource), event)
        case Fact() if type(event) in KIND_OF:
            _hold(state.of(KIND_OF[type(event)]), event)


def _hold(progress: Progress, fact: Fact) -> None:
    key, version = fact.key(), version_number(fact.resource_version)
    if fact.listing > progress.listing:
        _begin(progress, fact.listing)
    if fact.listing == progress.listing and version > progress.version:
        progress.place, progress.version = fact.resource_version, version
    if fact.tombstone:
        progress.held.pop(key, None)
        if fact.listing == progress.listing:
            _bury(progress, key, version)
    else:
        progress.gone.pop(key, None)
        progress.held[key] = Held(fact.uid, version, digest(codec.encode(fact)), fact.listing)


def _begin(progress: Progress, number: int, rewound: bool = False) -> None:
    progress.listing = max(progress.listing, number)
    progress.gone = {}
    if rewound:
        progress.place, progress.version = "", 0


def _bury(progress: Progress, key: str, version: int) -> None:
    progress.gone.pop(key, None)
    progress.gone[key] = version
    if len(progress.gone) > REMEMBERED:
        del progress.gone[next(iter(progress.gone))]


# --- from the API server: listings ---------------------------------------------------------------------


def begin_listing(state: Watched, kind: Kind, reason: str) -> list[Event]:
    """From here until `end_listing`, what the log says of this resource may be behind."""
    progress = state.of(kind.name)
    progress.synced, progress.listed, progress.about, progress.unread = False, set(), None, False
    progress.believing = progress.believe and progress.asked not in (0, progress.answered)
    progress.answered = progress.asked or progress.answered
    _begin(progress, progress.listing + 1, progress.rewound)
    return [
        ResourceListing(
            resource=kind.name, reason=reason, number=progress.listing, rewound=progress.rewound,
            asked=progress.answered,
        )
    ]  # fmt: skip


def listed(state: Watched, kind: Kind, items: Iterable[Any]) -> list[Event]:
    """Items of a list, in any order. In a second look, what came to be doubted since it began is left to the
    next one."""
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
            continue  # the watch has told what is newer
        if held is None and 0 < version <= progress.gone.get(key, 0):
            continue  # the watch has told that it is gone
        progress.absences.forget(key)
        events += _tell(progress, fact, key, version)
    return events


def unread(state: Watched, kind: Kind, key: str, why: str) -> None:
    """An item of a list that cannot be read: `key`, where at least that can."""
    progress = state.of(kind.name)
    progress.unusable.append(Unusable(key or "an object without a name", why))
    if key and progress.listed is not None:
        progress.listed.add(key)
    progress.unread |= not key


def went_back(state: Watched, kind: Kind, version: str) -> str:
    """The API server is at `version`. '' if that is not behind what it has told us; if it is, its store
    was restored from a backup, and the next listing has to tell everything anew: says so."""
    progress = state.of(kind.name)
    if not 0 < version_number(version) < progress.version:
        return ""
    progress.rewound = True
    return f"the API server went back to version {version}, behind {progress.version}"


def end_listing(state: Watched, kind: Kind, version: str, now: float) -> list[Event]:
    """The list was complete at `version`. `now`: seconds, of a clock that never goes back."""
    progress = state.of(kind.name)
    assert progress.listed is not None, "no listing has begun"
    events = _missing(progress, kind, progress.held.keys() - progress.listed, version, now)
    progress.listed, progress.synced, progress.rewound = None, True, False
    progress.place, progress.version = version, version_number(version)
    return [*events, _mark(progress, kind, now)]


def begin_second_look(state: Watched, kind: Kind) -> frozenset[str]:
    """Another listing begins beside the watch, about what is doubted, which it gives: what the watch tells
    from here on is behind it. Over as soon as `about` is another."""
    progress = state.of(kind.name)
    progress.listed, progress.unread = set(), False
    _begin(progress, progress.listing + 1)
    progress.about = progress.absences.keys
    return progress.about


def end_second_look(state: Watched, kind: Kind, version: str, now: float) -> list[Event]:
    """It was complete at `version`, and what it shows was told (`listed`)."""
    progress = state.of(kind.name)
    assert progress.listed is not None, "no listing has begun"
    assert progress.about is not None, "it is not the second one"
    missing = (progress.about & progress.absences.keys & progress.held.keys()) - progress.listed
    events = _missing(progress, kind, missing, version, now)
    progress.listed = progress.about = None
    return [*events, _mark(progress, kind, now)]


def give_up_second_look(state: Watched, kind: Kind, about: frozenset[str]) -> None:
    """It did not come to its end: it says nothing."""
    progress = state.of(kind.name)
    if progress.about is about:
        progress.listed = progress.about = None


def _missing(
    progress: Progress, kind: Kind, missing: AbstractSet[str], version: str, now: float
) -> list[Event]:
    """What a complete list lacks. A word of an operator ends all doubt."""
    if progress.unread:
        return []
    if progress.believing:
        progress.believing, gone = False, sorted(missing)
        progress.absences.clear()
    else:
        gone = progress.absences.listed(missing, len(progress.held), now)
    return [_tombstone(progress, kind, key, progress.held[key].uid, version) for key in gone]


# --- from the API server: the watch -----------------------------------------------------------------------


def changed(state: Watched, kind: Kind, type: str, item: Any, now: float = 0.0) -> list[Event]:
    """One watch event: ADDED, MODIFIED or DELETED. `now`: seconds, of a clock that never goes back. Raises
    ValueError for another type."""
    progress = state.of(kind.name)
    fact = kind.seen(item, progress.listing)
    key, version = fact.key(), version_number(fact.resource_version)
    held = progress.held.get(key)
    last = progress.gone.get(key, 0) + 1 if held is None else held.version
    if 0 < version < last or (kind.ordered and 0 < version <= progress.version):
        return []  # older than what was told
    if version:
        progress.place, progress.version = fact.resource_version, version
    if type in ("ADDED", "MODIFIED"):
        progress.absences.forget(key)
        return _tell(progress, fact, key, version)
    if type != "DELETED":
        raise ValueError(f"a watch event of type {type!r}")
    if held is None:
        return []
    if progress.absences.deleted(key, now):
        return [_tombstone(progress, kind, key, fact.uid, fact.resource_version)]
    # It is looked at again; that it is doubted is told at once, so that nobody else concludes anything.
    return [] if progress.doubted else [_mark(progress, kind, now)]


def initial(state: Watched, kind: Kind, type: str, item: Any, now: float = 0.0) -> list[Event]:
    """The same among the initial events of a streaming list, which come in any order; one that is deleted
    meanwhile is told as well."""
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
    """Nothing happened up to `version`."""
    progress = state.of(kind.name)
    number = version_number(version)
    if number > progress.version or (version and not number):
        progress.place, progress.version = version, number
    return well(state, kind, now)


def well(state: Watched, kind: Kind, now: float) -> list[Event]:
    """The API server has just had a good answer. It is told once a minute, and where it is news."""
    progress = state.of(kind.name)
    news = progress.place != progress.marked or now - progress.marked_at >= MARK_AGAIN
    return [_mark(progress, kind, now)] if progress.synced and news else []


def settled(state: Watched, kind: Kind, now: float) -> list[Event]:
    """Where the log's mark says that something is doubted, and nothing is any more."""
    progress = state.of(kind.name)
    over = progress.synced and progress.doubted and progress.about is None and not progress.absences.keys
    return [_mark(progress, kind, now)] if over else []


def resumes(state: Watched, kind: Kind) -> bool:
    """Whether a watch may go on from `place`: the log has the whole listing, with today's fields, and nothing
    on it is doubted that nobody here doubts."""
    progress = state.of(kind.name)
    return (
        progress.synced
        and progress.place not in ("", "0")
        and progress.fields == kind.fields
        and (not progress.doubted or bool(progress.absences.keys))
        and not wanted(state, kind)
    )


def wanted(state: Watched, kind: Kind) -> str:
    """Why somebody wants a listing that has not begun yet, or ''. Only whether it is another wish than the
    one that was answered counts, not which is later: wishes come by many clocks."""
    progress = state.of(kind.name)
    return "" if progress.asked in (0, progress.answered) else progress.why


# --- one object ---------------------------------------------------------------------------------------


def _tell(progress: Progress, fact: Fact, key: str, version: int) -> list[Event]:
    """What the log has to hear of an object that is there."""
    fact, body, unusable = fitted(fact, key)
    if unusable:
        progress.unusable.append(unusable)
        if not body:
            return []
    held, now = progress.held.get(key), Held(fact.uid, version, digest(body), progress.listing)
    progress.held[key] = now
    told = held is not None and (held.listing == now.listing or not progress.rewound)
    if held is not None and told and (held.uid, held.digest) == (now.uid, now.digest):
        return []
    progress.gone.pop(key, None)
    return [fact]


def _tombstone(progress: Progress, kind: Kind, key: str, uid: str, version: str) -> Event:
    del progress.held[key]
    _bury(progress, key, version_number(version))
    namespace, _, name = key.rpartition("/")
    return kind.gone(uid, version, progress.listing, namespace, name)


def _mark(progress: Progress, kind: Kind, now: float) -> ResourceSynced:
    progress.marked, progress.marked_at, progress.fields = progress.place, now, kind.fields
    progress.doubted = len(progress.absences.keys)
    return ResourceSynced(
        resource=kind.name, resource_version=progress.place, number=progress.listing,
        count=len(progress.held), doubted=progress.doubted, fields=kind.fields, asked=progress.answered,
    )  # fmt: skip


def digest(body: bytes) -> bytes:
    """Of all fields behind the version: it changes with every status update, and is no news by itself."""
    return hashlib.blake2b(body[body.index(b',"uid":') :], digest_size=16).digest()
