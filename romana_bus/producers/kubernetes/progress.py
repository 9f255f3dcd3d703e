"""What the log has of each watched resource, and how it is folded from the log. Pure.

For each resource: the entities on the log, with version and digest of the used fields, and the position of
the watch. A standby and a restarted process fold it (`evolve`), so they know what was published before and
where the watch was. While a process leads, `observe.py` keeps the same state up to date as it decides.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

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
from romana_bus.events.base import SECOND
from romana_bus.producers.kubernetes.absence import Absences
from romana_bus.producers.kubernetes.objects import KIND_OF
from romana_bus.recent import Recent

if TYPE_CHECKING:
    from romana_bus.producers.kubernetes.size_limit import Unusable

#: Deletions since a listing that are remembered, so that an older event does not bring an entity back: how
#: many, and for how long at least (µs). An API server's cache is behind by seconds.
REMEMBERED, DOUBTFUL = 10_000, 600 * SECOND


class Held(NamedTuple):
    """An entity on the log. `listing`: the number of the listing in which it was published."""

    uid: str
    version: int
    digest: bytes
    listing: int = 0


class Progress:
    """The state of one resource. `place`: if `synced`, the resource version up to which everything relevant
    is on the log; `version`: the same as a number, 0 if it is none; `listing`: the number of the newest
    listing; `fields`: the set of fields of the facts."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}  # namespace/name
        self.gone = Recent[int]()  # the same -> version of its deletion, of this listing
        self.place, self.version = "", 0
        self.listing = 0
        self.synced = False
        self.fields = ""
        self.marked, self.marked_at = "", 0.0  # the place of the last Synced, and when it was published
        self.listed: set[str] | None = None
        self.about: frozenset[str] | None = None  # of an absence check: the entities that it decides about
        self.unread = False  # the list had unreadable items, so it proves no absence
        self.rewound = False  # until a listing is complete, everything is published again
        self.unusable: list[Unusable] = []  # objects that were left out, or cut, and why
        self.absences = Absences()
        self.doubted = 0  # how many entities are doubted, according to the last Synced
        self.asked, self.why, self.believe = 0, "", False  # the newest request to list again
        self.answered = 0  # the request that a listing has answered, or is answering
        self.believing = False  # an operator said that what the current listing lacks is deleted


class Watched:
    """The state of all resources, by the kind's name."""

    def __init__(self) -> None:
        self.progress: dict[str, Progress] = {}
        self.encoded: list[tuple[Event, bytes]] = []  # see `take_bodies`

    def take_bodies(self) -> dict[int, bytes]:
        """The bodies of facts that were derived since the last call, by the facts' `id`: they were encoded
        for their digests, and need not be encoded again to be published."""
        taken, self.encoded = self.encoded, []
        return {id(fact): body for fact, body in taken}

    def of(self, name: str) -> Progress:
        if name not in self.progress:
            self.progress[name] = Progress()
        return self.progress[name]


def evolve(state: Watched, event: Event, _seq: int = 0, body: bytes = b"") -> None:
    """Fold one event. `body`: what it was decoded from, where that is known."""
    match event:
        case ListingAsked():
            progress = state.of(event.resource)
            progress.asked, progress.why = event.at, event.reason or "somebody asked for it"
            progress.believe = event.believe
        case ResourceListing():
            progress = state.of(event.resource)
            progress.synced, progress.answered, progress.rewound = False, event.asked, event.rewound
            begin(progress, event.number, event.rewound)
        case ResourceSynced():
            progress = state.of(event.resource)
            progress.synced, progress.fields, progress.rewound = True, event.fields, False
            progress.answered, progress.doubted = event.asked, event.doubted
            progress.listing = max(progress.listing, event.number)
            progress.place = progress.marked = event.resource_version
            progress.version = version_number(event.resource_version)
        case ObjectSeen() | ObjectGone():
            _hold(state.of(event.resource), event, body)
        case Fact() if type(event) in KIND_OF:
            _hold(state.of(KIND_OF[type(event)]), event, body)


def _hold(progress: Progress, fact: Fact, body: bytes) -> None:
    key, version = fact.key(), version_number(fact.resource_version)
    if fact.listing > progress.listing:
        begin(progress, fact.listing)
    if fact.listing == progress.listing and version > progress.version:
        progress.place, progress.version = fact.resource_version, version
    if fact.tombstone:
        progress.held.pop(key, None)
        if fact.listing == progress.listing:
            bury(progress, key, version)
    else:
        progress.gone.drop(key)
        progress.held[key] = Held(fact.uid, version, digest(body or codec.encode(fact)), fact.listing)


def begin(progress: Progress, number: int, rewound: bool = False) -> None:
    """A listing of this number begins. `rewound`: the watch's position is void."""
    progress.listing = max(progress.listing, number)
    progress.gone = Recent()
    if rewound:
        progress.place, progress.version = "", 0


def bury(progress: Progress, key: str, version: int) -> None:
    """Remember the entity's deletion."""
    progress.gone.put(key, version)
    if len(progress.gone) > REMEMBERED:
        progress.gone.drop(next(iter(progress.gone)))


def forget_old(state: Watched, now: int) -> None:
    """Forget deletions of some time ago. `now`: µs, by the log's time."""
    for progress in state.progress.values():
        progress.gone.turn(now, DOUBTFUL)


def digest(body: bytes) -> bytes:
    """A digest of all fields after the version. The version is left out, since it changes with every status
    update."""
    return hashlib.blake2b(body[max(body.find(b',"uid":'), 0) :], digest_size=16).digest()
