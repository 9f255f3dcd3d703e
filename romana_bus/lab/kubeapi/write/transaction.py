"""The writes of one request: the final form of its objects, and the resulting changes. Pure.

Objects are stored as they were sent, except that `metadata` is completed and ordered as Kubernetes does. A
dry run gives the same answers and writes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.lab.kubeapi import wire
from romana_bus.lab.kubeapi.status import go_json

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.store import Store
    from romana_bus.lab.kubeapi.table import Change

Json = dict[str, Any]

_METADATA = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)


class Transaction:
    """`now`: RFC 3339, in seconds. `uid`: of a created object. `changes`: in the order of their versions."""

    def __init__(self, store: Store, *, now: str, uid: str, dry: bool = False) -> None:
        self.store, self.now, self.uid = store, now, uid
        self.changes: list[tuple[Resource, Change]] = []
        self._dry = dry

    def put(self, resource: Resource, key: str, wanted: Json) -> bytes:
        """Create or replace an object; returns its new state."""
        store, version = self.store, self.store.version + 1
        sent = wanted["metadata"] if self._dry else wanted["metadata"] | {"resourceVersion": str(version)}
        metadata = {field: sent[field] for field in _METADATA if field in sent}
        metadata |= {field: value for field, value in sent.items() if field not in metadata}
        top = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        raw = go_json(top | {field: part for field, part in wanted.items() if field not in top})
        if not self._dry:
            kind = "ADDED" if store.get(resource, key) is None else "MODIFIED"
            self.changes.append((resource, store.write(resource, kind, key, raw, version)))
        return raw

    def remove(self, resource: Resource, key: str, old: bytes) -> bytes:
        """Remove an object; returns its last state, with the version of the deletion."""
        if self._dry:
            return old
        version = self.store.version + 1
        raw = wire.at_version(old, version)
        self.changes.append((resource, self.store.write(resource, "DELETED", key, raw, version)))
        return raw
