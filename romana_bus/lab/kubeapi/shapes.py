"""The types of the fields that the lab reads; a value of another type is refused. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

_OBJECTS = list[dict[str, Any]]
_TEXTS = dict[str, str]

#: Path -> the type of a value that is present and not null; `[]`: each element of a list. A container comes
#: before its fields.
_Types = dict[str, Any]


def _texts(place: str, *names: str) -> _Types:
    return {f"{place}.{name}": str for name in names}


def _expressions(place: str) -> _Types:
    each = f"{place}[]"
    return {place: _OBJECTS} | _texts(each, "key", "operator") | {f"{each}.values": list[str]}


def _containers(place: str) -> _Types:
    ports = f"{place}[].ports"
    types: _Types = {place: _OBJECTS} | _texts(f"{place}[]", "name", "image") | {ports: _OBJECTS}
    types |= {f"{place}[].{field}": list[str] for field in ("command", "args")}
    types |= {f"{place}[].env": _OBJECTS} | _texts(f"{place}[].env[]", "name", "value")
    return types | {f"{ports}[].containerPort": int, f"{ports}[].protocol": str}


_METADATA: _Types = {
    "metadata": Json,
    **_texts("metadata", "name", "namespace", "generateName", "uid", "resourceVersion"),
    **_texts("metadata", "creationTimestamp", "deletionTimestamp"),
    "metadata.labels": _TEXTS,
    "metadata.annotations": _TEXTS,
    "metadata.finalizers": list[str],
    "metadata.ownerReferences": _OBJECTS,
    "metadata.deletionGracePeriodSeconds": int,
    "spec": Json,
    "status": Json,
}
_CONDITIONS = {"status.conditions": _OBJECTS} | _texts(
    "status.conditions[]", "type", "status", "reason", "message"
)
_AFFINITY = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
_TERMS = f"{_AFFINITY}.nodeSelectorTerms"
_STATE = "status.containerStatuses[].state"

_TYPES: dict[str, _Types] = {
    "Pod": {
        **_containers("spec.containers"),
        **_containers("spec.initContainers"),
        **_texts("spec", "nodeName", "schedulerName"),
        "spec.nodeSelector": _TEXTS,
        "spec.affinity": Json,
        "spec.affinity.nodeAffinity": Json,
        _AFFINITY: Json,
        _TERMS: _OBJECTS,
        **_expressions(f"{_TERMS}[].matchExpressions"),
        **_expressions(f"{_TERMS}[].matchFields"),
        "spec.tolerations": _OBJECTS,
        **_texts("spec.tolerations[]", "key", "value", "effect", "operator"),
        "spec.schedulingGates": _OBJECTS,
        "spec.terminationGracePeriodSeconds": int,
        "spec.hostNetwork": bool,
        **_texts("status", "phase", "reason", "podIP"),
        "status.podIPs": _OBJECTS,
        "status.podIPs[].ip": str,
        **_CONDITIONS,
        "status.containerStatuses": _OBJECTS,
        "status.containerStatuses[].ready": bool,
        "status.containerStatuses[].restartCount": int,
        _STATE: Json,
        f"{_STATE}.waiting": Json,
        f"{_STATE}.waiting.reason": str,
        f"{_STATE}.terminated": Json,
        f"{_STATE}.terminated.reason": str,
    },
    "Node": {
        "spec.unschedulable": bool,
        "spec.taints": _OBJECTS,
        **_texts("spec.taints[]", "key", "value", "effect"),
        **_CONDITIONS,
        "status.addresses": _OBJECTS,
        **_texts("status.addresses[]", "type", "address"),
        "status.nodeInfo": Json,
    },
    "Namespace": {"status.phase": str},
    "NetworkPolicy": {
        "spec.podSelector": Json,
        "spec.podSelector.matchLabels": _TEXTS,
        **_expressions("spec.podSelector.matchExpressions"),
        "spec.ingress": list[Json | None],
        "spec.ingress[].ports": _OBJECTS,
        "spec.egress": list[Json | None],
        "spec.egress[].ports": _OBJECTS,
        "spec.policyTypes": list[str],
    },
}


def misshapen(resource: Resource, item: Json) -> str:
    """The first field that has a wrong type, with the reason; '' if there is none."""
    for path, kind in (_METADATA | _TYPES.get(resource.kind, {})).items():
        for value in _values(item, path.split(".")):
            try:
                msgspec.convert(value, type=kind | None)
            except msgspec.ValidationError as error:
                return f"{str(error).partition(' - at ')[0]} - at `$.{path}`"
    return ""


def _values(item: Any, path: list[str]) -> Iterator[Any]:
    """The values at `path` that are not null."""
    if item is None:
        return
    if not path:
        yield item
    elif path[0].endswith("[]"):
        for element in item.get(path[0][:-2]) or ():
            yield from _values(element, path[1:])
    else:
        yield from _values(item.get(path[0]), path[1:])
