"""What the small API server holds: the objects of every resource, and how they came to be. Pure.

An object is bytes, exactly as a watch shows it (`{"kind":...,"apiVersion":...,"metadata":...}`), under
the key that etcd has for it: `namespace/name`, or `name` where the resource knows no namespaces. One
version counter serves all resources, as etcd's revision does. History is kept back to the last
compaction, so a list page or a watch may start at any version since.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_version = attrgetter("version")


_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Resource(NamedTuple):
    """One kind of object that is served: `group` is '' for the core API. `short`: what people call it;
    `subresources`: what can be asked of one object apart."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    short: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ("status",)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def verbs(self) -> list[str]:
        """What can be asked of it, as RBAC names it. Nobody deletes all namespaces at once."""
        return [verb for verb in _VERBS if verb != "deletecollection" or self.kind != "Namespace"]

    @property
    def path(self) -> str:
        """Where it is listed cluster wide: `/api/v1/pods`."""
        return f"{'/apis' if self.group else '/api'}/{self.api_version}/{self.plural}"

    def key(self, namespace: str, name: str) -> str:
        return f"{namespace}/{name}" if self.namespaced else name


NODES = Resource("", "v1", "nodes", "Node", False, ("no",))
PODS = Resource("", "v1", "pods", "Pod", True, ("po",), ("binding", "status"))
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False, ("ns",))
NETWORK_POLICIES = Resource(
    "networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, ("netpol",), ()
)

BUILT_IN = (NODES, PODS, NAMESPACES, NETWORK_POLICIES)


class Compacted(Exception):
    """Nothing is known any more of `version`: history begins at `floor`."""

    def __init__(self, version: int, floor: int) -> None:
        super().__init__(f"version {version} is compacted, history begins at {floor}")
        self.version = version
        self.floor = floor


@dataclass(frozen=True)
class Change:
    """`type`: ADDED, MODIFIED or DELETED. `raw`: the object after it, or, deleted, its last state with
    the version of the deletion. `before`: what it was until then, None if it was not there."""

    type: str
    key: str
    version: int
    raw: bytes
    before: bytes | None

    @cached_property
    def item(self) -> Any:
        """The object after it, read once for all who select."""
        return msgspec.json.decode(self.raw)

    @cached_property
    def item_before(self) -> Any:
        """None where it was not there."""
        return None if self.before is None else msgspec.json.decode(self.before)

    @cached_property
    def line(self) -> bytes:
        """As it goes out to a watch; rendered once for all of them."""
        return watch_line(self.type, self.raw)


def watch_line(kind: str, raw: bytes) -> bytes:
    """One event of a watch (metav1.WatchEvent), with its newline."""
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), raw)


class Snapshot(NamedTuple):
    """All objects of one resource at one version, in the order of their keys."""

    keys: Sequence[str]
    raws: Sequence[bytes]

    def under(self, prefix: str) -> Snapshot:
        """Only those whose key starts with `prefix`, which is '' or ends with '/'."""
        if not prefix:
            return self
        first = bisect_left(self.keys, prefix)
        last = bisect_left(self.keys, prefix[:-1] + "0")  # the character behind '/'
        return Snapshot(self.keys[first:last], self.raws[first:last])


class _Table:
    """One resource: what is there now, and the changes since `floor`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.changes: list[Change] = []
        self.filled_at = 0
        self._snapshots: dict[int, Snapshot] = {}

    def fill(self, version: int, objects: Mapping[str, bytes]) -> None:
        self.objects = dict(objects)
        self.changes = []
        self.filled_at = version
        self._snapshots.clear()

    def forget(self, version: int) -> None:
        del self.changes[: bisect_right(self.changes, version, key=_version)]
        self._snapshots.clear()

    def record(self, change: Change) -> None:
        self.changes.append(change)
        if change.type == "DELETED":
            self.objects.pop(change.key, None)
        else:
            self.objects[change.key] = change.raw

    def after(self, version: int) -> list[Change]:
        return self.changes[bisect_right(self.changes, version, key=_version) :]

    def snapshot(self, version: int) -> Snapshot:
        """Kept for the next pages of the same list, which ask for the same version."""
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


class Store:
    """`version` is the last one given out; it starts at 1, because 0 means "any" to clients."""

    def __init__(self, resources: Iterable[Resource] = BUILT_IN) -> None:
        self.version = 1
        self.compacted = 0
        self._tables = {resource: _Table() for resource in resources}

    @property
    def resources(self) -> tuple[Resource, ...]:
        return tuple(self._tables)

    def get(self, resource: Resource, key: str) -> bytes | None:
        return self._tables[resource].objects.get(key)

    def fill(self, resource: Resource, version: int, objects: Mapping[str, bytes]) -> None:
        """Begin with these objects, as a list at `version` gave them; what was before is not known."""
        self._tables[resource].fill(version, objects)
        self.advance(version)

    def write(self, resource: Resource, kind: str, key: str, raw: bytes, version: int) -> Change:
        """One change; `kind` as Change.type. ValueError if it is not newer than the resource's last."""
        table = self._tables[resource]
        last = table.changes[-1].version if table.changes else self._floor(resource)
        if version <= last:
            raise ValueError(f"{resource.plural} {key}: version {version} comes after {last}")
        change = Change(kind, key, version, raw, table.objects.get(key))
        table.record(change)
        self.advance(version)
        return change

    def advance(self, version: int) -> None:
        """Something that is not served here was written, up to `version`."""
        self.version = max(self.version, version)

    def compact(self, version: int) -> None:
        """Forget what was before `version`; lists at it and watches from it still work."""
        self.compacted = max(self.compacted, min(version, self.version))
        for table in self._tables.values():
            table.forget(self.compacted)

    def changes(self, resource: Resource, after: int) -> list[Change]:
        """In the order of their versions. Raises Compacted."""
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
