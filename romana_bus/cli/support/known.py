"""Which names an event, a topology or a line of a log has. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus import events as ev

if TYPE_CHECKING:
    from romana_bus.cli.support.names import Names

#: Field of an event -> the kind of name that it holds.
_FIELDS = {"node": "node", "namespace": "namespace", "tenant": "namespace", "segment": "label"}
#: Keys of labels under these domains are the same everywhere, and say what a label is for.
_PUBLIC = ("kubernetes.io", "k8s.io", "romana.io")
#: `NAMESPACE/NAME` in a text.
_POD = re.compile(
    r"(?<![\w/.:-])([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)/([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?![\w/])"
)


def add_event(names: Names, event: Any) -> None:
    """Know the names of an event."""
    if isinstance(event, ev.Fact):
        kind = {ev.NodeSeen: "node", ev.NodeGone: "node", ev.NamespaceSeen: "namespace",
                ev.NamespaceGone: "namespace", ev.PodSeen: "pod", ev.PodGone: "pod"}  # fmt: skip
        names.add(kind.get(type(event), "object"), event.name)
    elif isinstance(name := getattr(event, "name", ""), str):
        names.add("pod", name)
    for field, kind_of in _FIELDS.items():
        if isinstance(value := getattr(event, field, ""), str):
            names.add(kind_of, value)
    for field in ("labels", "annotations"):
        add_labels(names, getattr(event, field, {}))
    match event:
        case ev.TopologySet() | ev.TopologyAccepted():
            add_topology(names, event.document)
        case ev.LeaderElected():
            names.add("node", event.holder.partition("/")[0])
        case ev.Wired():
            for pod in event.addresses.values():
                add_pod(names, pod)
    for eviction in getattr(event, "evict", ()):
        add_event(names, eviction)


def add_pod(names: Names, pod: str) -> None:
    """`NAMESPACE/NAME`."""
    namespace, _, name = pod.rpartition("/")
    names.add("namespace", namespace)
    names.add("pod", name)


def add_labels(names: Names, labels: Any) -> None:
    for key, value in labels.items() if isinstance(labels, dict) else ():
        if not is_public(key):
            names.add("label", str(key))
        names.add("value", str(value))


def is_public(key: str) -> bool:
    """Whether a label's key is one that all clusters use."""
    domain = key.partition("/")[0] if "/" in key else ""
    return any(domain == public or domain.endswith(f".{public}") for public in _PUBLIC)


def add_topology(names: Names, value: Any) -> None:
    """Know the tenants, nodes and labels that a topology document names, anywhere in it."""
    if isinstance(value, list):
        for each in value:
            add_topology(names, each)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in ("tenants", "hosts") and isinstance(inner, list):
                for each in inner:
                    name = each.get("name") if isinstance(each, dict) else each
                    names.add("namespace" if key == "tenants" else "node", str(name or ""))
            elif key == "assignment":
                add_labels(names, inner)
            else:
                add_topology(names, inner)


def add_line(names: Names, line: str) -> None:
    """Know the names in a line of a log: those in its fields, and what looks like a pod's."""
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fields = {}
    for field, kind in _FIELDS.items():
        if isinstance(value := fields.get(field), str):
            names.add(kind, value)
    if isinstance(pod := fields.get("pod"), str):
        add_pod(names, pod)
    for namespace, name in _POD.findall(line):
        if not name.isdecimal() and not namespace.isdecimal():
            names.add("namespace", namespace)
            names.add("pod", name)
