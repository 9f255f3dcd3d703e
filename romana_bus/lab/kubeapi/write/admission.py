"""Admission: the checks of a write beyond its form, such as existing namespaces and valid names. Pure.

Both rules are off while recordings are played, and in tests with made-up objects, which are stored unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.lab.kubeapi import status
from romana_bus.lab.kubeapi.resources import NAMESPACES
from romana_bus.lab.kubeapi.write import validation
from romana_bus.lab.kubeapi.write.defaults import begun, completed

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.store import Store

Json = dict[str, Any]

#: The namespaces of a new cluster, which must not be deleted.
BORN = ("default", "kube-node-lease", "kube-public", "kube-system")


class Rules(NamedTuple):
    """`graceful`: a pod on a node is removed only when its kubelet confirms it. `admission`: defaults are
    filled in, invalid objects are refused, the status is a subresource, namespaces must exist."""

    graceful: bool = False
    admission: bool = False


NO_RULES = Rules()


def admit_new(store: Store, resource: Resource, item: Json) -> Json:
    """The object to create. Raises Refused: 403, 404, 422."""
    metadata = item["metadata"]
    if resource.namespaced:
        _check_namespace(store, resource, metadata["namespace"], metadata["name"])
    validation.check_new(resource, item)
    return begun(resource, completed(resource, item))


def admit_change(resource: Resource, old: Json, new: Json) -> Json:
    """The object that replaces `old`. Raises Refused (422)."""
    if "status" in resource.subresources:
        new = {field: value for field, value in new.items() if field != "status"}
        new |= {"status": old["status"]} if "status" in old else {}
    new = completed(resource, new)
    validation.check_change(resource, old, new)
    return new


def admit_deletion(resource: Resource, name: str) -> None:
    """Raises Refused (403) if the object must not be deleted."""
    if resource == NAMESPACES and name in BORN:
        raise status.not_admitted(resource, name, "this namespace may not be deleted")


def _check_namespace(store: Store, resource: Resource, namespace: str, name: str) -> None:
    raw = store.get(NAMESPACES, namespace)
    if raw is None:
        raise status.not_found(NAMESPACES, namespace)
    if msgspec.json.decode(raw)["metadata"].get("deletionTimestamp"):
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        raise status.not_admitted(resource, name, why)
