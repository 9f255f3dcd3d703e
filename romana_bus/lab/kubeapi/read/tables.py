"""Objects as rows of a table (meta.k8s.io/v1 Table), as `kubectl get` prints them. Pure: the clock is given.

Columns and cells are those of the real server (pkg/printers/internalversion/printers.go); only the columns'
descriptions differ. Other kinds are shown as custom resources without additional columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.lab.kubeapi.read.ages import age
from romana_bus.lab.kubeapi.read.pod_columns import pod_cells

if TYPE_CHECKING:
    from datetime import datetime

    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

_NONE = "<none>"
_UNKNOWN = "<unknown>"

#: Kind -> (columns that are always shown, additional columns of -o wide).
_COLUMNS = {
    "Pod": (
        ("Name", "Ready", "Status", "Restarts", "Age"),
        ("IP", "Node", "Nominated Node", "Readiness Gates"),
    ),
    "Node": (
        ("Name", "Status", "Roles", "Age", "Version"),
        ("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"),
    ),
    "Namespace": (("Name", "Status", "Age"), ()),
    "NetworkPolicy": (("Name", "Pod-Selector", "Age"), ()),
}
_OTHERS: tuple[tuple[str, ...], tuple[str, ...]] = (("Name", "Age"), ())


def columns(resource: Resource) -> list[Json]:
    shown, wide = _COLUMNS.get(resource.kind, _OTHERS)
    return [_column(name, 0) for name in shown] + [_column(name, 1) for name in wide]


def _column(name: str, priority: int) -> Json:
    form = "name" if name == "Name" else ""
    return {"name": name, "type": "string", "format": form, "description": "", "priority": priority}


def cells(resource: Resource, item: Json, now: datetime) -> list[object]:
    """The cells of one object, in the order of the columns."""
    match resource.kind:
        case "Pod":
            return pod_cells(item, now)
        case "Node":
            return _node(item, now)
        case "Namespace":
            return [_name(item), (item.get("status") or {}).get("phase", ""), _age(item, now)]
        case "NetworkPolicy":
            selector = (item.get("spec") or {}).get("podSelector") or {}
            return [_name(item), selector_text(selector), _age(item, now)]
        case _:
            return [_name(item), _age(item, now)]


def _name(item: Json) -> object:
    return item["metadata"].get("name", "")


def _age(item: Json, now: datetime) -> object:
    return age(item["metadata"].get("creationTimestamp"), now)


def _node(node: Json, now: datetime) -> list[object]:
    info = (node.get("status") or {}).get("nodeInfo") or {}
    return [
        _name(node),
        _readiness(node),
        ",".join(sorted(_roles(node["metadata"].get("labels") or {}))) or _NONE,
        _age(node, now),
        info.get("kubeletVersion", ""),
        _address(node, "InternalIP"),
        _address(node, "ExternalIP"),
        info.get("osImage") or _UNKNOWN,
        info.get("kernelVersion") or _UNKNOWN,
        info.get("containerRuntimeVersion") or _UNKNOWN,
    ]


def _readiness(node: Json) -> str:
    conditions = (node.get("status") or {}).get("conditions") or []
    ready = [condition.get("status") for condition in conditions if condition.get("type") == "Ready"]
    said = ("Ready" if ready[0] == "True" else "NotReady") if ready else "Unknown"
    return said + (",SchedulingDisabled" if (node.get("spec") or {}).get("unschedulable") else "")


def _roles(labels: dict[str, str]) -> set[str]:
    prefix = "node-role.kubernetes.io/"
    roles = {label.removeprefix(prefix) for label in labels if label.startswith(prefix)}
    return (roles | {labels.get("kubernetes.io/role", "")}) - {""}


def _address(node: Json, kind: str) -> str:
    addresses = (node.get("status") or {}).get("addresses") or []
    return next((entry.get("address", "") for entry in addresses if entry.get("type") == kind), _NONE)


def selector_text(selector: Json) -> str:
    """A metav1.LabelSelector in one line (metav1.FormatLabelSelector)."""
    terms = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    terms += [
        (expression.get("key", ""), _expression(expression))
        for expression in selector.get("matchExpressions") or []
    ]
    return ",".join(text for _, text in sorted(terms)) or _NONE


def _expression(expression: Json) -> str:
    key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or []))
    match expression.get("operator"):
        case "In":
            return f"{key} in ({values})"
        case "NotIn":
            return f"{key} notin ({values})"
        case "DoesNotExist":
            return f"!{key}"
        case _:
            return str(key)
