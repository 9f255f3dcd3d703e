"""The columns of `kubectl get pods` for one pod (pkg/printers/internalversion/printers.go, printPod). Pure.

Left out: what the real server adds for init containers, readiness gates and past restarts.
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
    containers = status.get("containerStatuses") or []
    ready = sum(bool(container.get("ready")) for container in containers)
    addresses = status.get("podIPs") or []
    return [
        pod["metadata"]["name"],
        f"{ready}/{len(spec.get('containers') or [])}",
        _status(pod, status, containers),
        str(sum(container.get("restartCount") or 0 for container in containers)),
        age(pod["metadata"].get("creationTimestamp"), now),
        (addresses[0].get("ip") if addresses else status.get("podIP")) or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        _NONE,
    ]


def _status(pod: Json, status: Json, containers: list[Json]) -> str:
    """The column STATUS: the phase, or the reason why the pod is not Running or Succeeded."""
    phase = status.get("phase") or ""
    if pod["metadata"].get("deletionTimestamp") and phase not in ("Failed", "Succeeded"):
        return "Terminating"
    states = [container.get("state") or {} for container in containers]
    reasons = [(state.get("waiting") or state.get("terminated") or {}).get("reason") for state in states]
    return next(filter(None, reasons), status.get("reason") or phase)
