"""One resource in the store: its objects, and their changes since the last compaction. Pure.

No object is kept twice: `before` of a change is `written` of an earlier one. Rendered and decoded forms for
watches are not kept here (see `views.Event`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.lab.kubeapi import wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_version = attrgetter("version")


class Change(NamedTuple):
    """A change of an object. `type`: ADDED, MODIFIED or DELETED. `before`: the object before the change; None
    if it did not exist. `written`: the object after it; None if that is `before` with another version, as
    after most deletions."""

    type: str
    key: str
    version: int
    written: bytes | None
    before: bytes | None

    @property
    def raw(self) -> bytes:
        """The object after the change; if it was deleted, its last state with the version of the deletion."""
        if self.written is not None:
            return self.written
        assert self.before is not None
        return wire.at_version(self.before, self.version)

    @property
    def size(self) -> int:
        """The bytes that are kept only for this change."""
        return len(self.written or b"")


class Extent(NamedTuple):
    """The length of a history: the number of changes, and the bytes of the objects that they wrote."""

    changes: int
    size: int

    def within(self, limit: Extent) -> bool:
        return self.changes <= limit.changes and self.size <= limit.size


class Snapshot(NamedTuple):
    """All objects of one resource at one version, in the order of their keys."""

    keys: Sequence[str]
    raws: Sequence[bytes]

    def under(self, prefix: str) -> Snapshot:
        """Only those whose key starts with `prefix`, which is '' or ends with '/'."""
        if not prefix:
            return self
        first = bisect_left(self.keys, prefix)
        last = bisect_left(self.keys, prefix[:-1] + "0")  # '0' follows '/' in ASCII
        return Snapshot(self.keys[first:last], self.raws[first:last])


class Table:
    """One resource. `objects`: the current objects. `changes`: in the order of their versions. `filled_at`:
    the version before which there is no history."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.changes: list[Change] = []
        self.filled_at = 0
        self._size = 0
        self._snapshots: dict[int, Snapshot] = {}

    @property
    def extent(self) -> Extent:
        return Extent(len(self.changes), self._size)

    def fill(self, version: int, objects: Mapping[str, bytes]) -> None:
        self.objects = dict(objects)
        self.changes = []
        self._size = 0
        self.filled_at = version
        self._snapshots.clear()

    def forget(self, version: int) -> None:
        """Drop the changes up to `version`."""
        gone = bisect_right(self.changes, version, key=_version)
        self._size -= sum(change.size for change in self.changes[:gone])
        del self.changes[:gone]
        self._snapshots.clear()

    def record(self, change: Change) -> None:
        self.changes.append(change)
        self._size += change.size
        if change.type == "DELETED":
            self.objects.pop(change.key, None)
        else:
            self.objects[change.key] = change.raw

    def after(self, version: int) -> list[Change]:
        return self.changes[bisect_right(self.changes, version, key=_version) :]

    def snapshot(self, version: int) -> Snapshot:
        """The objects at `version`. The result is cached for the next pages of the same list."""
        later = self.after(version)
        kept = len(self.changes) - len(later)
        last = self.changes[kept - 1].version if kept else 0
        if last not in self._snapshots:
            while len(self._snapshots) >= 4:
                del self._snapshots[next(iter(self._snapshots))]
            self._snapshots[last] = self._undo(later)
        return self._snapshots[last]

    def _undo(self, later: list[Change]) -> Snapshot:
        objects = dict(self.objects)
        for change in reversed(later):
            if change.before is None:
                objects.pop(change.key, None)
            else:
                objects[change.key] = change.before
        keys = sorted(objects)
        return Snapshot(keys, [objects[key] for key in keys])
