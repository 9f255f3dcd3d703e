"""A kubelet's view of a pod: whether it should run, its values for CNI, and its status. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

Json = dict[str, Any]

MIRROR = "kubernetes.io/config.mirror"


class Running(NamedTuple):
    """A pod that has its network. `since`: RFC 3339; `host`: the node's addresses."""

    addresses: tuple[str, ...]
    host: tuple[str, ...]
    sandbox: str
    since: str


def key(pod: Json) -> tuple[str, str]:
    """Namespace and name."""
    metadata = pod["metadata"]
    return metadata.get("namespace", "default"), metadata["name"]


def uid(pod: Json) -> str:
    return str(pod["metadata"].get("uid", ""))


def is_mirror(pod: Json) -> bool:
    return MIRROR in (pod["metadata"].get("annotations") or {})


def is_ending(pod: Json) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_over(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def on_host_network(pod: Json) -> bool:
    return bool(pod.get("spec", {}).get("hostNetwork"))


def port_mappings(pod: Json) -> list[Json]:
    """The CNI capability portMappings: the container ports that have a hostPort."""
    ports = [port for container in _containers(pod) for port in container.get("ports") or ()]
    return [
        {
            "hostPort": port["hostPort"],
            "containerPort": port["containerPort"],
            "protocol": port.get("protocol", "TCP").lower(),
            "hostIP": port.get("hostIP", ""),
        }
        for port in ports
        if port.get("hostPort")
    ]


def bandwidth(pod: Json) -> Json:
    """The CNI capability bandwidth, from the annotations kubernetes.io/ingress-bandwidth and
    egress-bandwidth, in bits per second."""
    annotations = pod["metadata"].get("annotations") or {}
    found: Json = {}
    for direction in ("ingress", "egress"):
        if rate := _quantity(annotations.get(f"kubernetes.io/{direction}-bandwidth", "")):
            found |= {f"{direction}Rate": rate, f"{direction}Burst": 2**31 - 1}
    return found


def _quantity(text: str) -> int:
    """The value of a quantity such as `10M` or `1Gi`; 0 if the text is not one."""
    digits = text.rstrip("KMGTki")
    scales = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(digits) * scales.get(text[len(digits) :], 0) if digits.isdecimal() else 0


def running(pod: Json, state: Running) -> Json:
    addresses = {"podIP": state.addresses[0], "podIPs": _ips(state.addresses)} if state.addresses else {}
    return {
        **_common("Running", state.host, state.since),
        **addresses,
        "message": None,
        "conditions": _conditions(True, state.since, "", ""),
        "containerStatuses": [
            _container(container, {"running": {"startedAt": state.since}}, state.sandbox)
            for container in _containers(pod)
        ],
    }


def waiting(pod: Json, host: tuple[str, ...], since: str, why: str) -> Json:
    """Status of a pod whose network setup failed, with the reason. A kubelet would write an event; the lab
    has no events, so the reason is the pod's message, which `kubectl describe` shows."""
    message = f"failed to set up the pod's network: {why}"
    state = {"waiting": {"reason": "ContainerCreating", "message": message}}
    return {
        **_common("Pending", host, since),
        "podIP": None,
        "podIPs": None,
        "message": message,
        "conditions": _conditions(False, since, "FailedCreatePodSandBox", message),
        "containerStatuses": [_container(container, state, "") for container in _containers(pod)],
    }


def why_waiting(pod: Json) -> str:
    """The reason in a status of `waiting`, or ''."""
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition.get("status") == "False" and condition.get("message"):
            return str(condition["message"])
    return ""


def says(pod: Json, status: Json) -> bool:
    """Whether the pod's status has all of these values; None: the field must be absent."""
    there = pod.get("status") or {}
    return all(there.get(field) == value for field, value in status.items())


def _common(phase: str, host: tuple[str, ...], since: str) -> Json:
    return {
        "phase": phase,
        "hostIP": host[0],
        "hostIPs": _ips(host),
        "startTime": since,
        "qosClass": "BestEffort",
    }


def _conditions(able: bool, since: str, reason: str, message: str) -> list[Json]:
    why = {"reason": reason, "message": message} if reason else {}
    states = {
        "PodReadyToStartContainers": able,
        "Initialized": True,
        "Ready": able,
        "ContainersReady": able,
        "PodScheduled": True,
    }
    return [
        {"type": kind, "status": str(state), "lastProbeTime": None, "lastTransitionTime": since}
        | ({} if state else why)
        for kind, state in states.items()
    ]


def _container(container: Json, state: Json, sandbox: str) -> Json:
    running = "running" in state
    return {
        "name": container.get("name", ""),
        "state": state,
        "lastState": {},
        "ready": running,
        "started": running,
        "restartCount": 0,
        "image": container.get("image", ""),
        "imageID": "",
    } | ({"containerID": f"romana-lab://{sandbox}"} if sandbox else {})


def _containers(pod: Json) -> list[Json]:
    return pod.get("spec", {}).get("containers") or []


def _ips(addresses: tuple[str, ...]) -> list[Json]:
    return [{"ip": address} for address in addresses]
