"""What of the API server's story has to go on the log. Pure.

For each resource: which entities the log knows, in which version and with which fields (as a digest), and
how far it has come. From there:

    a list item or watch event   -> a fact, if a field in use differs from what the log has
    the end of a listing         -> Gone for every entity that the log has and the list had not; Synced
    a bookmark                   -> Synced, so that a restart goes on from there

The same state comes out of the log itself (`evolve`), so a standby, or the process after a restart, knows
what its predecessor had published and where its watch was.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus import codec
from romana_bus.events import (
    Event,
    Fact,
    ListingAsked,
    ObjectGone,
    ObjectSeen,
    ResourceListing,
    ResourceSynced,
)
from romana_bus.producers.shapes import KIND_OF, LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.producers.shapes import Kind


class Held(NamedTuple):
    """What the log has of one entity."""

    uid: str
    version: int
    digest: bytes


class Progress:
    """One resource. `version`: everything up to there is on the log or did not matter, if `synced`;
    `fields`: with which set of fields it was synced."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}  # namespace/name
        self.version = 0
        self.synced = False
        self.fields = ""
        self.marked = 0  # the version of the last Synced
        self.listed: set[str] | None = None
        self.rewound = False  # the next listing begins from nothing
        self.too_large: list[str] = []  # left out, because no message can carry them
        self.asked, self.why = 0, ""  # the newest wish of an operator or an audit to list again
        self.answered = 0  # the one that a listing has answered, or is answering


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
        case ResourceListing():
            progress = state.of(event.resource)
            progress.synced = False
            progress.answered = event.asked
            if event.rewound:
                _forget_versions(progress)
        case ResourceSynced():
            progress = state.of(event.resource)
            progress.synced, progress.fields = True, event.fields
            progress.answered = event.asked
            progress.version = progress.marked = number(event.resource_version)
        case ObjectSeen() | ObjectGone():
            _hold(state.of(event.resource), event)
        case Fact() if type(event) in KIND_OF:
            _hold(state.of(KIND_OF[type(event)]), event)


def _hold(progress: Progress, fact: Fact) -> None:
    version = number(fact.resource_version)
    progress.version = max(progress.version, version)
    if fact.tombstone:
        progress.held.pop(fact.key(), None)
    else:
        progress.held[fact.key()] = Held(fact.uid, version, digest(codec.encode(fact)))


# --- from the API server ---------------------------------------------------------------------------------


def begin_listing(state: Watched, kind: Kind, reason: str) -> list[Event]:
    """From here until `end_listing`, what the log says of this resource may be behind."""
    progress = state.of(kind.name)
    progress.synced, progress.listed = False, set()
    progress.answered = progress.asked or progress.answered
    rewound, progress.rewound = progress.rewound, False
    if rewound:
        _forget_versions(progress)
    asked = progress.answered
    return [ResourceListing(resource=kind.name, reason=reason, rewound=rewound, asked=asked)]


def listed(state: Watched, kind: Kind, items: Iterable[Any]) -> list[Event]:
    """Items of a list, in any order."""
    progress = state.of(kind.name)
    return [event for item in items for event in _changed(progress, kind.seen(item))]


def went_back(state: Watched, kind: Kind, version: str) -> str:
    """The API server is at `version`. '' if that is not behind what it has told us; if it is, its store
    was restored from a backup, and the next listing has to begin from nothing: says so."""
    progress = state.of(kind.name)
    if not 0 < number(version) < progress.version:
        return ""
    progress.rewound = True
    return f"the API server went back to version {version}, behind {progress.version}"


def end_listing(state: Watched, kind: Kind, version: str) -> list[Event]:
    """The list was complete at `version`."""
    progress = state.of(kind.name)
    assert progress.listed is not None, "no listing has begun"
    gone: list[Event] = []
    for key in sorted(progress.held.keys() - progress.listed):
        namespace, _, name = key.rpartition("/")
        gone.append(kind.gone(progress.held.pop(key).uid, version, namespace, name))
    progress.listed = None
    progress.synced = True
    progress.version = max(progress.version, number(version))
    return [*gone, _mark(progress, kind, version)]


def changed(state: Watched, kind: Kind, type: str, item: Any) -> list[Event]:
    """One watch event: ADDED, MODIFIED or DELETED, also among the initial events of a streaming list.
    Raises ValueError for another type."""
    progress = state.of(kind.name)
    fact = kind.seen(item)
    if type in ("ADDED", "MODIFIED"):
        events = _changed(progress, fact)
    elif type == "DELETED":
        events = _gone(progress, kind, fact)
    else:
        raise ValueError(f"a watch event of type {type!r}")
    progress.version = max(progress.version, number(fact.resource_version))
    return events


def bookmark(state: Watched, kind: Kind, version: str) -> list[Event]:
    """Nothing happened up to `version`."""
    progress = state.of(kind.name)
    progress.version = max(progress.version, number(version))
    if not progress.synced or progress.version <= progress.marked:
        return []
    return [_mark(progress, kind, version)]


def resumes(state: Watched, kind: Kind) -> bool:
    """Whether a watch may go on from `version`: the log has the whole listing, with today's fields."""
    progress = state.of(kind.name)
    return (
        progress.synced
        and progress.version > 0
        and progress.fields == kind.fields
        and not wanted(state, kind)
    )


def wanted(state: Watched, kind: Kind) -> str:
    """Why somebody wants a listing that has not begun yet, or ''. Only whether it is another wish than the
    one that was answered counts, not which is later: wishes come by many clocks."""
    progress = state.of(kind.name)
    return "" if progress.asked in (0, progress.answered) else progress.why


def _changed(progress: Progress, fact: Fact) -> list[Event]:
    key, version = fact.key(), number(fact.resource_version)
    if progress.listed is not None:
        progress.listed.add(key)
    held = progress.held.get(key)
    if held is not None and 0 < version < held.version:
        return []  # older than what the log has
    body = codec.encode(fact)
    now = Held(fact.uid, version, digest(body))
    progress.held[key] = now
    if held is not None and (held.uid, held.digest) == (now.uid, now.digest):
        return []
    if len(body) > LARGEST:
        progress.too_large.append(f"{key} ({len(body):,} bytes)")
        return []
    return [fact]


def _gone(progress: Progress, kind: Kind, fact: Fact) -> list[Event]:
    key, version = fact.key(), number(fact.resource_version)
    if progress.listed is not None:
        progress.listed.discard(key)
    held = progress.held.get(key)
    if held is None or 0 < version < held.version:
        return []
    del progress.held[key]
    namespace, _, name = key.rpartition("/")
    return [kind.gone(fact.uid, fact.resource_version, namespace, name)]


def _mark(progress: Progress, kind: Kind, version: str) -> ResourceSynced:
    progress.marked, progress.fields = number(version), kind.fields
    return ResourceSynced(
        resource=kind.name, resource_version=version, count=len(progress.held), fields=kind.fields,
        asked=progress.answered,
    )  # fmt: skip


def _forget_versions(progress: Progress) -> None:
    """The numbers to come have nothing to do with those held; and everything is told again, so that
    whoever reads it later never compares the two."""
    progress.version = progress.marked = 0
    progress.held = {key: Held(held.uid, 0, b"") for key, held in progress.held.items()}


def digest(body: bytes) -> bytes:
    """Of all fields behind the version: it changes with every status update, and is no news by itself."""
    return hashlib.blake2b(body[body.index(b',"uid":') :], digest_size=16).digest()


def number(version: str) -> int:
    """A resource version as a number (KEP-5504); 0 where an aggregated API has it otherwise."""
    return int(version) if version.isdecimal() else 0
