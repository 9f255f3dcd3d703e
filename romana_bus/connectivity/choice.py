"""Chooses the nodes that get probes: some in every zone, and those that were named. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from romana_bus.connectivity.model import FAMILIES, Node, family_of
from romana_bus.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Metadata(msgspec.Struct):
    name: str
    labels: dict[str, str] | None = None


class Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _Address(msgspec.Struct):
    type: str = ""
    address: str = ""


class _Endpoint(msgspec.Struct):
    port: int = msgspec.field(name="Port", default=10250)


class _Daemons(msgspec.Struct):
    kubelet: _Endpoint = msgspec.field(name="kubeletEndpoint", default_factory=_Endpoint)


class _NodeStatus(msgspec.Struct):
    conditions: list[Condition] | None = None
    addresses: list[_Address] | None = None
    daemons: _Daemons = msgspec.field(name="daemonEndpoints", default_factory=_Daemons)


class NodeObject(msgspec.Struct):
    """The fields of a Node that are used."""

    metadata: Metadata
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


class Choice(NamedTuple):
    """`skipped`: nodes that cannot get probes, with the reason. `more`: how many nodes could get probes, but
    were not chosen."""

    nodes: tuple[Node, ...]
    skipped: tuple[tuple[str, str], ...]
    more: int


def choose(objects: Sequence[NodeObject], zone_label: str, per_zone: int, named: Sequence[str]) -> Choice:
    """The first `per_zone` nodes of each zone by name, or those that were `named`. Raises BadInput if a named
    node does not exist or cannot get probes, or if there is none."""
    found = sorted(objects, key=lambda node: node.metadata.name)
    reasons = {node.metadata.name: _objection(node) for node in found}
    for name in named:
        if reasons.get(name, "there is no such node"):
            raise BadInput(f"--node {name}: {reasons.get(name, 'there is no such node')}")
    able = [_node(node, zone_label) for node in found if not reasons[node.metadata.name]]
    skipped = tuple((name, why) for name, why in reasons.items() if why)
    nodes = [node for node in able if node.name in named] if named else _of_each_zone(able, per_zone)
    if not nodes:
        told = "; ".join(f"{name}: {why}" for name, why in skipped[:5])
        raise BadInput(f"no node can get probes{f': {told}' if told else ': the cluster has none'}")
    return Choice(tuple(nodes), skipped, len(able) - len(nodes))


def _of_each_zone(nodes: Iterable[Node], per_zone: int) -> list[Node]:
    zones: dict[str, list[Node]] = {}
    for node in nodes:
        zones.setdefault(node.zone, []).append(node)
    return [node for zone in sorted(zones) for node in zones[zone][:per_zone]]


def _objection(node: NodeObject) -> str:
    """Why a node cannot get probes, or ''. Taints do not matter, since probes tolerate all."""
    system = (node.metadata.labels or {}).get("kubernetes.io/os", "linux")
    if system != "linux":
        return f"it runs {system}"
    for condition in node.status.conditions or ():
        if condition.type == "Ready":
            return (
                "" if condition.status == "True" else f"it is not Ready: {condition.message or 'no reason'}"
            )
    return "it is not Ready: it has not reported yet"


def _node(node: NodeObject, zone_label: str) -> Node:
    addresses = [each.address for each in node.status.addresses or () if each.type == "InternalIP"]
    first = [next((a for a in addresses if family_of(a) == family), "") for family in FAMILIES]
    zone = (node.metadata.labels or {}).get(zone_label, "")
    return Node(node.metadata.name, zone, tuple(filter(None, first)), node.status.daemons.kubelet.port)
