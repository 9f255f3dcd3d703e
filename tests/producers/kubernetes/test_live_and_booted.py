"""The watcher's state: told live, followed on the log, or booted from the table: the same at every step.

Of recorded days, cut into listings and watches by Hypothesis, with false deletions, events that are told
again, versions that go backwards, lists that lack something, and elections in between."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from romana_bus.lab.recordings.track import read_lines
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.absence import SURELY
from romana_bus.producers.kubernetes.objects import BUILT_IN, Kind
from romana_bus.producers.kubernetes.progress import Watched, evolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romana_bus.events import Event

ROOT = Path(__file__).parents[3]
#: The project's own, and those that a machine may have beside it.
RECORDINGS = [one for one in (ROOT / "recordings", ROOT.parent / "shared" / "kube") if one.is_dir()]


class Change(NamedTuple):
    """One line of a recorded watch."""

    type: str
    item: Any


@functools.cache
def day(kind: Kind, folder: Path) -> tuple[Change, ...]:
    changes = []
    for line in read_lines(folder / f"{kind.plural}.jsonl"):
        if line.kind == "watch":
            event = kind.events.decode(line.body.encode())
            if event.type in ("ADDED", "MODIFIED", "DELETED"):
                changes.append(Change(event.type, event.object))
    return tuple(changes)


def at_version(item: Any, version: int) -> Any:
    meta = msgspec.structs.replace(item.metadata, resource_version=str(version))
    return msgspec.structs.replace(item, metadata=meta)


class Reader:
    """The same events in three states. `live`: the leader of the watch; `followed`: a standby."""

    def __init__(self, kind: Kind) -> None:
        self.kind, self.live, self.followed = kind, Watched(), Watched()
        self.log: list[Event] = []
        self.there: dict[str, Any] = {}  # at the API server
        self.version, self.now = 0, 0.0

    def publish(self, events: Sequence[Event]) -> None:
        for event in events:
            self.log.append(event)
            evolve(self.followed, event)
            table = {one.subject(): (seq, one) for seq, one in enumerate(self.log)}
            booted = Watched()
            for _, one in sorted(table.values(), key=lambda row: row[0]):
                evolve(booted, one)
            assert self._known(booted) == self._known(self.followed)

    def _known(self, state: Watched) -> Any:
        """What the log has, and whether a watch goes on from it. From where is no more than a hint: whoever
        goes on from too early is told again what it knows, and whoever goes on from too late asks."""
        progress = state.of(self.kind.name)
        held = {key: (one.uid, one.digest) for key, one in progress.held.items()}
        return held, progress.synced, progress.listing

    def settled(self) -> None:
        """The log has what the leader has published."""
        live, followed = self.live.of(self.kind.name), self.followed.of(self.kind.name)
        same = {key: (one.uid, one.digest) for key, one in followed.held.items()}
        assert {key: (one.uid, one.digest) for key, one in live.held.items()} == same

    # --- steps ---

    def listing(self, lacks: int = 0) -> None:
        shown = [item for number, item in enumerate(self.there.values()) if not lacks or number % lacks]
        observe.rewound_to(self.live, self.kind, str(self.version))
        self.publish(observe.begin_listing(self.live, self.kind, "test"))
        self.publish(observe.listed(self.live, self.kind, shown))
        self.publish(observe.end_listing(self.live, self.kind, str(self.version), self.now))
        self.settled()

    def second_look(self) -> None:
        if not self.live.of(self.kind.name).absences.keys:
            return
        observe.begin_check(self.live, self.kind)
        self.publish(observe.listed(self.live, self.kind, self.there.values()))
        self.publish(observe.end_check(self.live, self.kind, str(self.version), self.now))
        self.settled()

    def happens(self, change: Change) -> None:
        version = int(change.item.metadata.resource_version)
        key = f"{change.item.metadata.namespace}/{change.item.metadata.name}"
        self.version = max(self.version, version)
        if change.type == "DELETED":
            self.there.pop(key, None)
        else:
            self.there[key] = change.item
        self.heard(change)

    def heard(self, change: Change) -> None:
        """By the watch, true or not."""
        self.publish(observe.changed(self.live, self.kind, change.type, change.item, self.now))
        self.settled()

    def false_deletion(self, number: int, version: int) -> None:
        if self.there:
            item = list(self.there.values())[number % len(self.there)]
            self.heard(Change("DELETED", at_version(item, version)))

    def backwards(self, number: int, version: int) -> None:
        if self.there:
            item = list(self.there.values())[number % len(self.there)]
            self.heard(Change("MODIFIED", at_version(item, version)))

    def elected(self) -> None:
        """The next leader goes on from what the log has: it boots, and lists where it cannot resume."""
        self.live = Watched()
        for event in self.log:
            evolve(self.live, event)
        if not observe.resumes(self.live, self.kind):
            self.listing()

    def ends_right(self) -> None:
        """A true list, and as many checks as it takes, repair everything."""
        self.listing()
        for _ in range(3):
            self.now += SURELY
            self.second_look()
        held = self.followed.of(self.kind.name).held
        assert {key: one.uid for key, one in held.items()} == {
            key: item.metadata.uid for key, item in self.there.items()
        }


STEPS = st.sampled_from(
    ["day", "day", "day", "false deletion", "again", "backwards", "list", "short list", "look", "election"]
)


def test_every_recorded_day_whatever_goes_wrong() -> None:
    assert RECORDINGS, "the project's own recordings are missing"
    for folder in RECORDINGS:
        for kind in BUILT_IN:
            _through(kind, day(kind, folder))


def _through(kind: Kind, changes: tuple[Change, ...]) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def one(data: st.DataObject) -> None:
        reader = Reader(kind)
        reader.listing()
        at = 0
        for step in data.draw(st.lists(STEPS, min_size=5, max_size=40)):
            reader.now += data.draw(st.sampled_from([0.01, 1.0, 20.0]))
            number, version = data.draw(st.integers(0, 50)), data.draw(st.integers(1, 2000))
            match step:
                case "day":
                    for change in changes[at : at + 3]:
                        reader.happens(change)
                    at += 3
                case "false deletion":
                    reader.false_deletion(number, version)
                case "again" if at:
                    reader.heard(changes[number % min(at, len(changes))])
                case "backwards":
                    reader.backwards(number, version)
                case "list":
                    reader.listing()
                case "short list":
                    reader.listing(lacks=number % 3 + 1)
                case "look":
                    reader.second_look()
                case "election":
                    reader.elected()
        reader.ends_right()

    one()
