"""The Node object that a kubelet writes. Pure: the time is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.lab.kubeapi.read.ages import read_time

if TYPE_CHECKING:
    from datetime import datetime

Json = dict[str, Any]

#: Seconds that a kubelet may be silent (kube-controller-manager's --node-monitor-grace-period).
GRACE = 50.0
VERSION = "v1.36.0-romana-lab"
_CAPACITY = {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "16Gi", "pods": "110"}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_HEALTHY = {
    "MemoryPressure": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
}


class Identity(NamedTuple):
    """The node's properties. `labels`: including zone and host name. `kernel`: its release; `machine`: both
    as in uname."""

    name: str
    addresses: tuple[str, ...]
    labels: dict[str, str]
    kernel: str = ""
    machine: str = ""


class Readiness(NamedTuple):
    """Whether the node can run pods. `since`: RFC 3339, when this state began."""

    ready: bool
    reason: str
    message: str
    since: str = ""


def ready(since: str = "") -> Readiness:
    return Readiness(True, "KubeletReady", "kubelet is posting ready status", since)


def not_ready(why: str, since: str = "") -> Readiness:
    """The readiness of a node whose runtime has no network, with a kubelet's text."""
    message = (
        f"container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:{why}"
    )
    return Readiness(False, "KubeletNotReady", message, since)


def registration(who: Identity) -> Json:
    """The node object, without a podCIDR, since IPAM assigns addresses."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": who.name, "labels": who.labels},
        "spec": {},
    }


def status(who: Identity, readiness: Readiness, now: str) -> Json:
    addresses = [{"type": "InternalIP", "address": address} for address in who.addresses]
    return {
        "capacity": _CAPACITY,
        "allocatable": _CAPACITY,
        "conditions": [*_healthy(readiness.since, now), _ready(readiness, now)],
        "addresses": [*addresses, {"type": "Hostname", "address": who.name}],
        "nodeInfo": {
            "machineID": who.name,
            "systemUUID": who.name,
            "bootID": who.name,
            "kernelVersion": who.kernel,
            "osImage": "romana-bus lab",
            "containerRuntimeVersion": "romana-lab://1",
            "kubeletVersion": VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": _ARCHITECTURES.get(who.machine, who.machine),
        },
    }


def unknown(node: Json, now: str) -> Json:
    """The status that the control plane writes for a node that has stopped reporting."""
    conditions = [
        condition
        | {
            "status": "Unknown",
            "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastTransitionTime": now,
        }
        for condition in node.get("status", {}).get("conditions", [])
    ]
    return {"conditions": conditions}


def is_silent(node: Json, now: datetime) -> bool:
    """Whether the node's kubelet has not reported for longer than the grace period."""
    for condition in node.get("status", {}).get("conditions", []):
        if condition.get("type") == "Ready" and condition.get("status") != "Unknown":
            heard = read_time(condition.get("lastHeartbeatTime"))
            return heard is not None and (now - heard).total_seconds() > GRACE
    return False


def is_ready(node: Json) -> bool:
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in node.get("status", {}).get("conditions", [])
    )


def why_not_ready(node: Json) -> str:
    for condition in node.get("status", {}).get("conditions", []):
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            return str(condition.get("message", ""))
    return ""


def _healthy(since: str, now: str) -> list[Json]:
    return [_condition(kind, "False", *why, since, now) for kind, why in _HEALTHY.items()]


def _ready(readiness: Readiness, now: str) -> Json:
    status = "True" if readiness.ready else "False"
    return _condition("Ready", status, readiness.reason, readiness.message, readiness.since, now)


def _condition(kind: str, status: str, reason: str, message: str, since: str, now: str) -> Json:
    return {
        "type": kind,
        "status": status,
        "lastHeartbeatTime": now,
        "lastTransitionTime": since or now,
        "reason": reason,
        "message": message,
    }
