"""Deletion: immediate or graceful; a namespace is deleted with everything in it. Pure.

If deletion is graceful, a pod on a node is only marked (deletionTimestamp: its deadline), until its kubelet
deletes it with a grace period of 0; and a namespace stays Terminating while it contains objects. Finalizers
are ignored. So is the propagation policy: there are no dependents.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.lab.kubeapi import status
from romana_bus.lab.kubeapi.read.ages import read_time
from romana_bus.lab.kubeapi.resources import NAMESPACES, PODS
from romana_bus.lab.kubeapi.write.patches import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.write.transaction import Transaction

Json = dict[str, Any]


class Options(NamedTuple):
    """The fields of metav1.DeleteOptions that are used. `grace`: seconds; None: the pod's own period."""

    grace: int | None = None
    uid: str = ""
    version: str = ""
    dry: bool = False


def read_options(query: Mapping[str, str], body: bytes, content_type: str) -> Options:
    """The options in the body and the query; the body takes precedence. Raises Refused (400)."""
    sent = read_object(body, content_type) if body else {}
    asked = sent.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    grace = None if asked is None else _seconds(asked)
    if asked is not None and grace is None:
        raise status.bad_request(f'invalid gracePeriodSeconds "{asked}": it must be a number of seconds')
    only_if = sent.get("preconditions") or {}
    if not isinstance(only_if, dict):
        raise status.bad_request("preconditions of DeleteOptions are an object")
    return Options(
        grace,
        only_if.get("uid") or "",
        only_if.get("resourceVersion") or "",
        bool(sent.get("dryRun")),
    )


def _seconds(value: object) -> int | None:
    """An integer of at most ten digits, or None."""
    text = str(value)
    return int(text) if re.fullmatch(r"-?[0-9]{1,10}", text) else None


def delete(writes: Transaction, resource: Resource, key: str, options: Options, *, graceful: bool) -> bytes:
    """Delete the object; returns its last state. Raises Refused: 404, 409."""
    old = writes.store.get(resource, key)
    if old is None:
        raise status.not_found(resource, key.rpartition("/")[2])
    item = msgspec.json.decode(old)
    _check_preconditions(resource, item["metadata"], options)
    if resource == NAMESPACES:
        return _delete_namespace(writes, key, old, item, graceful=graceful)
    if graceful and resource == PODS and (grace := _grace(item, options)) > 0:
        return _mark(writes, key, old, item, grace)
    last = writes.remove(resource, key, old)
    if resource.namespaced:
        _end_namespace(writes, item["metadata"].get("namespace", ""))
    return last


def _check_preconditions(resource: Resource, metadata: Json, options: Options) -> None:
    for what, field, asked in (
        ("UID", "uid", options.uid),
        ("ResourceVersion", "resourceVersion", options.version),
    ):
        if asked and asked != (there := metadata.get(field)):
            why = f"the {what} in the precondition ({asked}) does not match the {what} in record ({there}). "
            raise status.conflict(
                resource,
                metadata["name"],
                why + "The object might have been deleted and then recreated"
                if what == "UID"
                else why + "The object might have been modified",
            )


def _grace(pod: Json, options: Options) -> int:
    """The pod's grace period in seconds; 0 if no kubelet has to confirm the deletion (pod strategy,
    CheckGracefulDelete)."""
    spec, phase = pod.get("spec") or {}, (pod.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Failed", "Succeeded"):
        return 0
    own = _seconds(spec.get("terminationGracePeriodSeconds", 30))
    asked = own if options.grace is None else options.grace
    return max(asked, 1) if asked else 0  # a negative one means: as soon as possible


def _mark(writes: Transaction, key: str, old: bytes, pod: Json, grace: int) -> bytes:
    metadata = pod["metadata"]
    if metadata.get("deletionTimestamp") and grace >= metadata.get("deletionGracePeriodSeconds", 0):
        return old  # a grace period can only become shorter
    now = read_time(writes.now)
    until = writes.now if now is None else (now + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ")
    marked = {"deletionTimestamp": until, "deletionGracePeriodSeconds": grace}
    return writes.put(PODS, key, pod | {"metadata": metadata | marked})


def _delete_namespace(writes: Transaction, name: str, old: bytes, item: Json, *, graceful: bool) -> bytes:
    if graceful and not item["metadata"].get("deletionTimestamp"):
        metadata = item["metadata"] | {"deletionTimestamp": writes.now}
        phase = (item.get("status") or {}) | {"phase": "Terminating"}
        old = writes.put(NAMESPACES, name, item | {"metadata": metadata, "status": phase})
    for resource, key in _contents(writes, name):
        delete(writes, resource, key, Options(), graceful=graceful)
    there = writes.store.get(NAMESPACES, name)  # it is removed with the last object in it
    if there is None or _contents(writes, name):
        return old
    return writes.remove(NAMESPACES, name, there)


def _end_namespace(writes: Transaction, name: str) -> None:
    """Remove a Terminating namespace if no object is left in it."""
    raw = writes.store.get(NAMESPACES, name) if NAMESPACES in writes.store.resources else None
    if raw is None or not msgspec.json.decode(raw)["metadata"].get("deletionTimestamp"):
        return
    if not _contents(writes, name):
        writes.remove(NAMESPACES, name, raw)


def _contents(writes: Transaction, namespace: str) -> list[tuple[Resource, str]]:
    store = writes.store
    return [
        (resource, key)
        for resource in store.resources
        if resource.namespaced
        for key in store.snapshot(resource, store.version).under(f"{namespace}/").keys
    ]
