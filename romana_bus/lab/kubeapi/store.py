"""The store of the small API server: the objects of every resource, and their history. Pure.

An object is bytes, exactly as a watch shows it (`{"kind":...,"apiVersion":...,"metadata":...}`). Its key is
that of etcd: `namespace/name`, or `name` for a cluster-scoped resource. All resources share one version
counter, like etcd's revision. History is kept back to the last compaction, so a list page or a watch may
start at any version since then.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from romana_bus.lab.kubeapi import wire
from romana_bus.lab.kubeapi.resources import BUILT_IN, Resource
from romana_bus.lab.kubeapi.table import Change, Extent, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from romana_bus.lab.kubeapi.table import Snapshot


class Compacted(Exception):
    """The history at `version` was compacted: it begins at `floor`."""

    def __init__(self, version: int, floor: int) -> None:
        super().__init__(f"version {version} is compacted, history begins at {floor}")
        self.version = version
        self.floor = floor


def watch_line(kind: str, raw: bytes) -> bytes:
    """The line of one event of a watch (metav1.WatchEvent), with its newline."""
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), raw)


#: The longest history, whatever its age: etcd has a quota of bytes, the real server's cache one of changes.
LONGEST = Extent(changes=100_000, size=64 * 1024 * 1024)

#: The share of it that is kept when the history becomes longer, so that only few writes have to compact it.
_LEFT = 0.75


class Store:
    """All objects. `version`: of the last write; it starts at 1, because 0 means "any" to clients.
    `longest`: a write that makes the history longer than this compacts it."""

    def __init__(self, resources: Iterable[Resource] = BUILT_IN, longest: Extent = LONGEST) -> None:
        self.version = 1
        self.compacted = 0
        self._longest = longest
        self._tables = {resource: Table() for resource in resources}

    @property
    def resources(self) -> tuple[Resource, ...]:
        return tuple(self._tables)

    @property
    def history(self) -> Extent:
        """The length of the history of all resources."""
        extents = [table.extent for table in self._tables.values()]
        return Extent(sum(extent.changes for extent in extents), sum(extent.size for extent in extents))

    def get(self, resource: Resource, key: str) -> bytes | None:
        return self._tables[resource].objects.get(key)

    def fill(self, resource: Resource, version: int, objects: Mapping[str, bytes]) -> None:
        """Set the objects of a resource to those of a list at `version`. There is no history before it."""
        self._tables[resource].fill(version, objects)
        self.advance(version)

    def write(self, resource: Resource, kind: str, key: str, raw: bytes, version: int) -> Change:
        """Record one change. `kind`: as Change.type. Raises ValueError if `version` is not newer than the
        resource's last change."""
        table = self._tables[resource]
        last = table.changes[-1].version if table.changes else self._floor(resource)
        if version <= last:
            raise ValueError(f"{resource.plural} {key}: version {version} comes after {last}")
        before = table.objects.get(key)
        repeats = kind == "DELETED" and before is not None and raw == wire.at_version(before, version)
        change = Change(kind, sys.intern(key), version, None if repeats else raw, before)
        table.record(change)
        self.advance(version)
        if not self.history.within(self._longest):
            self._shorten()
        return change

    def advance(self, version: int) -> None:
        """Increase the version, as writes to objects that are not served here do."""
        self.version = max(self.version, version)

    def compact(self, version: int) -> None:
        """Drop the history before `version`; lists at `version` and watches from it still work."""
        self.compacted = max(self.compacted, min(version, self.version))
        for table in self._tables.values():
            table.forget(self.compacted)

    def _shorten(self) -> None:
        """Compacts the history to its newest changes: a share of `_LEFT` of the longest history."""
        wanted = Extent(int(self._longest.changes * _LEFT), int(self._longest.size * _LEFT))
        left, to = self.history, self.compacted
        written = [
            (change.version, change.size) for table in self._tables.values() for change in table.changes
        ]
        for version, size in sorted(written):
            if left.within(wanted):
                break
            left = Extent(left.changes - 1, left.size - size)
            to = version
        self.compact(to)

    def changes(self, resource: Resource, after: int) -> list[Change]:
        """The changes after version `after`, in the order of their versions. Raises Compacted."""
        self._check(resource, after)
        return self._tables[resource].after(after)

    def snapshot(self, resource: Resource, version: int) -> Snapshot:
        """The objects as they were at `version`. Raises Compacted."""
        self._check(resource, version)
        return self._tables[resource].snapshot(version)

    def _floor(self, resource: Resource) -> int:
        return max(self.compacted, self._tables[resource].filled_at)

    def _check(self, resource: Resource, version: int) -> None:
        if version < (floor := self._floor(resource)):
            raise Compacted(version, floor)
