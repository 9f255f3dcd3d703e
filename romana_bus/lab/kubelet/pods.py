"""A kubelet's view of a pod: whether it should run, its values for CNI, and its status. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]

MIRROR = "kubernetes.io/config.mirror"
#: The name of a container (RFC 1123, label).
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Running(NamedTuple):
    """A pod that has its network. `since`: RFC 3339; `host`: the node's addresses. `ended`: the containers
    that have ended, by name: exit code and time."""

    addresses: tuple[str, ...]
    host: tuple[str, ...]
    sandbox: str
    since: str
    ended: Mapping[str, tuple[int, str]] = {}


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
    """The status of a pod that has its network. With restartPolicy Never it is over once all of its
    containers have ended."""
    addresses = {"podIP": state.addresses[0], "podIPs": _ips(state.addresses)} if state.addresses else {}
    names = {container.get("name", "") for container in _containers(pod)}
    over = pod.get("spec", {}).get("restartPolicy") == "Never" and names <= state.ended.keys()
    failed = any(code for code, _ in state.ended.values())
    phase = ("Failed" if failed else "Succeeded") if over else "Running"
    return {
        **_common(phase, state.host, state.since),
        **addresses,
        "message": None,
        "conditions": _conditions(not state.ended, state.since, "PodCompleted" if over else "", ""),
        "containerStatuses": [
            _container(container, _state(container, state), state.sandbox) for container in _containers(pod)
        ],
    }


def _state(container: Json, state: Running) -> Json:
    if (end := state.ended.get(container.get("name", ""))) is None:
        return {"running": {"startedAt": state.since}}
    code, at = end
    reason = "Error" if code else "Completed"
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": state.since, "finishedAt": at}}


def with_command(pod: Json) -> list[Json]:
    """The containers that have a command. Their names are safe as names of files."""
    return [
        container
        for container in _containers(pod)
        if container.get("command") and _LABEL.fullmatch(container.get("name") or "")
    ]


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
