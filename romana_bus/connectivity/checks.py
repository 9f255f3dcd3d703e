"""The checks to make between chosen nodes, once the addresses of the listeners are known. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.connectivity.model import (
    ACCEPTED,
    ANSWERED,
    API,
    FAMILIES,
    Check,
    End,
    Node,
    family_of,
    host_of,
    pod_on,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

#: The port of listeners in their pods.
PORT = 8080
#: A name that every cluster with DNS knows.
NAME = "kubernetes.default.svc"

#: Where source and target are; '' if it does not matter.
PLACES = SAME_NODE, SAME_ZONE, ACROSS, _ = "same node", "same zone", "across zones", ""


class Api(NamedTuple):
    """How pods reach the API server: the Service's addresses; () if there is none. `named`: there is DNS."""

    addresses: tuple[str, ...] = ()
    port: int = 443
    named: bool = False


def plan(
    nodes: Sequence[Node],
    listeners: Mapping[str, tuple[str, ...]],
    api: Api,
    host_port: int,
    skip: Collection[str] = (),
) -> tuple[Check, ...]:
    """All checks, without those of kinds to `skip`. `listeners`: node -> the addresses of the listener's pod
    there; nodes whose listener does not run are missing."""
    found = [
        *_pods(nodes, listeners),
        *_nodes(nodes),
        *_api(nodes, api),
        *_host_ports(nodes, listeners, host_port),
    ]
    return tuple(check for check in found if check.kind not in skip)


def place(source: Node, target: Node) -> str:
    if source.name == target.name:
        return SAME_NODE
    return SAME_ZONE if source.zone == target.zone else ACROSS


def _pods(nodes: Sequence[Node], listeners: Mapping[str, tuple[str, ...]]) -> Iterator[Check]:
    for source, target in _pairs(nodes):
        for address in listeners.get(target.name, ()):
            for kind, end in (("pod", pod_on(source.name)), ("host", host_of(source.name))):
                where = place(source, target)
                yield _check(kind, end, pod_on(target.name), where, address, PORT, target.name)


def _nodes(nodes: Sequence[Node]) -> Iterator[Check]:
    for source, target in _pairs(nodes):
        where = place(source, target)
        for address in target.addresses:
            end = host_of(target.name)
            yield _check("node", pod_on(source.name), end, where, address, target.port, ANSWERED)
            if source != target:
                yield _check("nodes", host_of(source.name), end, where, address, target.port, ANSWERED)


def _api(nodes: Sequence[Node], api: Api) -> Iterator[Check]:
    for node in nodes:
        for address in api.addresses:
            for source in (pod_on(node.name), host_of(node.name)):
                yield _check("api", source, API, "", address, api.port, ACCEPTED)
        if api.named:
            yield Check("dns", pod_on(node.name), API, "", 0, NAME, api.port, ACCEPTED)


def _host_ports(
    nodes: Sequence[Node], listeners: Mapping[str, tuple[str, ...]], port: int
) -> Iterator[Check]:
    """From the pods of other nodes: not every plugin lets a pod reach the ports of its own node."""
    for source, target in _pairs(nodes):
        families = {family_of(address) for address in listeners.get(target.name, ())}
        for address in target.addresses if source != target or len(nodes) == 1 else ():
            if family_of(address) in families:
                yield _check(
                    "hostport",
                    pod_on(source.name),
                    host_of(target.name),
                    "",
                    address,
                    port,
                    target.name,
                )


def _check(kind: str, source: End, target: End, where: str, address: str, port: int, says: str) -> Check:
    return Check(kind, source, target, where, family_of(address), address, port, says)


def _pairs(nodes: Sequence[Node]) -> Iterator[tuple[Node, Node]]:
    return ((source, target) for source in nodes for target in nodes)


def missing_families(listeners: Mapping[str, tuple[str, ...]]) -> list[str]:
    """What is wrong with the listeners' addresses: those of a family that only some of them have."""
    has = {node: {family_of(address) for address in addresses} for node, addresses in listeners.items()}
    common = set().union(*has.values())
    return [
        f"the pod on {node} has no IPv{family} address, and pods on other nodes have one"
        for node in sorted(has)
        for family in FAMILIES
        if family in common - has[node]
    ]
