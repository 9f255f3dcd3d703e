"""Binds a pod to a node: pods/binding, which schedulers create (registry/core/pod/storage). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.lab.kubeapi import status
from romana_bus.lab.kubeapi.resources import PODS

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.write.transaction import Transaction

Json = dict[str, Any]


def bind(writes: Transaction, key: str, binding: Json) -> bytes:
    """Bind the pod `key`; returns the body of the answer. Raises Refused: 400, 404, 409, 422."""
    name = key.rpartition("/")[2]
    raw = writes.store.get(PODS, key)
    if raw is None:
        raise status.not_found(PODS, name)
    sent, named = (binding.get(part) or {} for part in ("target", "metadata"))
    if not isinstance(sent, dict) or not isinstance(named, dict):
        raise status.bad_request("target and metadata of a Binding are objects")
    node = sent.get("name")
    if not node or not isinstance(node, str):
        raise status.invalid(PODS._replace(kind="Binding"), name, [status.Cause("Required", "target.name")])
    pod = msgspec.json.decode(raw)
    _check(pod, named.get("uid"))
    conditions = [condition for condition in _conditions(pod) if condition.get("type") != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": writes.now}
    writes.put(
        PODS,
        key,
        pod
        | {"spec": (pod.get("spec") or {}) | {"nodeName": node}}
        | {"status": (pod.get("status") or {}) | {"conditions": [*conditions, scheduled]}},
    )
    return status.done(201)


def _check(pod: Json, uid: str | None) -> None:
    metadata, there = pod["metadata"], (pod.get("spec") or {}).get("nodeName")
    name = metadata["name"]
    why = ""
    if uid and uid != metadata.get("uid"):
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata.get('uid')}"
    elif metadata.get("deletionTimestamp"):
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif there:
        why = f'pod {name} is already assigned to node "{there}"'
    if why:
        raise status.conflict(PODS._replace(plural="pods/binding"), name, why)


def _conditions(pod: Json) -> list[Json]:
    return (pod.get("status") or {}).get("conditions") or []
