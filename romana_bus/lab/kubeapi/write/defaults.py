"""The defaults of Kubernetes, as far as the lab reads them. Pure.

Not filled in: fields for kubelets that run containers (pull policies, volumes for tokens ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

_POD_SPEC = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "serviceAccountName": "default",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}


def completed(resource: Resource, item: Json) -> Json:
    """The object with the defaults of its kind. Idempotent."""
    match resource.kind:
        case "Pod":
            return item | {"spec": _pod(item.get("spec") or {})}
        case "Namespace":
            return _namespace(item)
        case "NetworkPolicy":
            return item | {"spec": _policy(item.get("spec") or {})}
        case _:
            return item


def begun(resource: Resource, item: Json) -> Json:
    """A new object with its initial status; a status in the request is ignored."""
    match resource.kind:
        case "Pod":
            return item | {"status": {"phase": "Pending", "qosClass": "BestEffort"}}
        case "Namespace":
            return item | {"status": {"phase": "Active"}}
        case _:
            return item


def _pod(spec: Json) -> Json:
    spec = {field: value for field, value in spec.items() if value is not None}
    containers = spec.get("containers")
    if not isinstance(containers, list):
        return _POD_SPEC | spec
    return _POD_SPEC | spec | {"containers": [_with_protocols(container) for container in containers]}


def _namespace(item: Json) -> Json:
    metadata = item["metadata"]
    labels = (metadata.get("labels") or {}) | {"kubernetes.io/metadata.name": metadata["name"]}
    spec = {"finalizers": ["kubernetes"]} | (item.get("spec") or {})
    return item | {"metadata": metadata | {"labels": labels}, "spec": spec}


def _policy(spec: Json) -> Json:
    types = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    ruled = {
        direction: [_with_protocols(rule) for rule in spec[direction] or []]
        for direction in ("ingress", "egress")
        if direction in spec
    }
    return {"podSelector": {}} | spec | ruled | {"policyTypes": spec.get("policyTypes") or types}


def _with_protocols(holder: Json | None) -> Json:
    """A container, or a rule of a policy, with the default protocol TCP for its ports."""
    holder = holder or {}
    if not holder.get("ports"):
        return holder
    return holder | {
        "ports": [port | {"protocol": port.get("protocol") or "TCP"} for port in holder["ports"]]
    }
