"""What `kubectl get pods` says of one pod (pkg/printers/internalversion/printers.go, printPod). Pure.

Of sidecars (init containers that go on) the real server knows more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.lab.kubeapi.read.ages import age

if TYPE_CHECKING:
    from datetime import datetime

Json = dict[str, Any]

_NONE = "<none>"


def pod_cells(pod: Json, now: datetime) -> list[object]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    ready = sum(bool(one.get("ready")) and "running" in _state(one) for one in _containers(status))
    addresses = status.get("podIPs") or []
    return [
        pod["metadata"]["name"],
        f"{ready}/{len(spec.get('containers') or [])}",
        _phrase(pod, spec, status),
        _restarts(status, now),
        age(pod["metadata"].get("creationTimestamp"), now),
        (addresses[0].get("ip") if addresses else status.get("podIP")) or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        _gates(spec, status),
    ]


def _phrase(pod: Json, spec: Json, status: Json) -> str:
    """STATUS: the phase, or the reason why it is not what one would wish."""
    phase = status.get("phase") or ""
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if phase not in ("Failed", "Succeeded"):
            return "Terminating"
    reason = status.get("reason") or phase
    if _condition(status, "PodScheduled").get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    initializing = _initializing(spec, status)
    if initializing and _condition(status, "Initialized").get("status") != "True":
        return initializing
    return _of_containers(reason, status)


def _initializing(spec: Json, status: Json) -> str:
    """'' once all init containers have ended well."""
    for place, one in enumerate(status.get("initContainerStatuses") or []):
        state = _state(one)
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and not ended.get("exitCode"):
            continue
        if ended is not None:
            return f"Init:{_ending(ended)}"
        if waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{place}/{len(spec.get('initContainers') or [])}"
    return ""


def _of_containers(reason: str, status: Json) -> str:
    running = False
    for one in reversed(_containers(status)):
        state = _state(one)
        if waiting := (state.get("waiting") or {}).get("reason"):
            reason = waiting
        elif (ended := state.get("terminated")) is not None:
            reason = _ending(ended)
        elif one.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        return "Running" if _condition(status, "Ready").get("status") == "True" else "NotReady"
    return reason


def _ending(ended: Json) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _restarts(status: Json, now: datetime) -> str:
    count = sum(one.get("restartCount", 0) for one in _containers(status))
    ended = [(one.get("lastState") or {}).get("terminated") or {} for one in _containers(status)]
    last = max((one.get("finishedAt") or "" for one in ended), default="")
    return f"{count} ({age(last, now)} ago)" if count and last else str(count)


def _gates(spec: Json, status: Json) -> str:
    gates = [gate.get("conditionType", "") for gate in spec.get("readinessGates") or []]
    passed = sum(_condition(status, gate).get("status") == "True" for gate in gates)
    return f"{passed}/{len(gates)}" if gates else _NONE


def _condition(status: Json, kind: str) -> Json:
    found: list[Json] = [one for one in status.get("conditions") or [] if one.get("type") == kind]
    return found[0] if found else {}


def _containers(status: Json) -> list[Json]:
    return status.get("containerStatuses") or []


def _state(container: Json) -> Json:
    return container.get("state") or {}
