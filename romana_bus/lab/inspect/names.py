"""Finds pods, nodes and the router by name or address, from the records on disk, without the API server."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.errors import BadInput
from romana_bus.inet import parse_address
from romana_bus.lab.kubelet.sandboxes import read_records
from romana_bus.lab.machine import netns

if TYPE_CHECKING:
    from romana_bus.lab.machine.directory import Lab

POD, NODE, ROUTER, ADDRESS = "pod", "node", "router", "address"


class End(NamedTuple):
    """A source or destination of packets. `name`: NAMESPACE/NAME for a pod. `netns`: '' for a bare address.
    `addresses`: one of each family."""

    kind: str
    name: str
    netns: str
    addresses: tuple[str, ...]
    node: str = ""
    zone: str = ""

    @property
    def short(self) -> str:
        return self.name.removeprefix("default/")

    @property
    def is_there(self) -> bool:
        return netns.exists(self.netns)


def ends(lab: Lab) -> list[End]:
    """All pods by name, then the nodes, then the router."""
    spec, pods, nodes = lab.spec, [], []
    for node in spec.nodes:
        nodes.append(End(NODE, node.name, spec.namespace(node.name), node.addresses, node.name, node.zone))
        for sandbox in read_records(lab.node(node.name)):
            if sandbox.complete:
                name = f"{sandbox.namespace}/{sandbox.name}"
                pods.append(End(POD, name, sandbox.netns, sandbox.addresses, node.name, node.zone))
    gateways = tuple(address for zone in spec.zone_list for address in zone.gateways)
    return [*sorted(pods, key=lambda end: end.name), *nodes, End(ROUTER, ROUTER, spec.router, gateways)]


def pods(lab: Lab) -> list[End]:
    return [end for end in ends(lab) if end.kind == POD]


def find(lab: Lab, text: str, addresses: bool = False) -> End:
    """The pod, node or router of that name or address. `addresses`: it is a destination, so it may be off,
    and an address that nobody has is accepted too. Raises BadInput."""
    everyone = ends(lab)
    matches = [end for end in everyone if text in (end.name, end.short, *end.addresses)]
    matches = matches or [end for end in everyone if end.kind == POD and end.name.partition("/")[2] == text]
    if not matches and addresses and _is_address(text):
        return End(ADDRESS, text, "", (text,))
    if not matches:
        names = [end.short for end in everyone]
        close = get_close_matches(text, names, 3)
        meant = f". Did you mean {', '.join(close)}?" if close else f": it has {', '.join(names)}"
        raise BadInput(f"lab {lab.spec.name} has no pod or node {text}{meant}")
    if len(matches) > 1:
        raise BadInput(f"{text} is {' and '.join(end.name for end in matches)}: name one of them whole")
    if not addresses and not matches[0].is_there:
        raise BadInput(f"{matches[0].kind} {text} is off: its node {matches[0].node} does not run")
    return matches[0]


def _is_address(text: str) -> bool:
    try:
        parse_address(text)
    except ValueError:
        return False
    return True
