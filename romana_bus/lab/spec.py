"""The zones and nodes of a lab, with their names and addresses. Pure.

The addresses are not visible outside the lab's namespaces, so two labs may have the same addresses.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeVar

import msgspec

from romana_bus.errors import BadInput

ZONE_LABEL = "topology.kubernetes.io/zone"
HOST_LABEL = "kubernetes.io/hostname"

#: The pods' networks. Blocks are small, so that a few pods need a second one.
PODS, PODS_6 = "10.20.0.0/16", "fd20::/48"
BLOCK, BLOCK_6 = 29, 125

MOST_ZONES, MOST_PER_ZONE = 16, 32
#: No '-': so that `rblab-a-` is the prefix of the namespaces of lab `a` only.
_NAME = re.compile(r"[a-z0-9]{1,12}")


class Node(NamedTuple):
    """`addresses`: IPv4, and IPv6 if the lab has it."""

    name: str
    zone: str
    addresses: tuple[str, ...]


class Zone(NamedTuple):
    """One subnet. `gateways`: the router's addresses in it, one per family. `lengths`: of their prefixes."""

    name: str
    gateways: tuple[str, ...]
    nodes: tuple[Node, ...]


T = TypeVar("T", Node, Zone)


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """`kubeconfig`: of the cluster that the nodes join; '': the lab's own API server. `conflist`: a file with
    the CNI configuration for all nodes, which then run no agents."""

    name: str = "lab"
    zones: int = 2
    nodes_per_zone: int = 2
    ipv6: bool = False
    kubeconfig: str = ""
    conflist: str = ""

    def checked(self) -> Spec:
        """This spec, if it is valid. Raises BadInput."""
        check_name(self.name)
        if not 1 <= self.zones <= MOST_ZONES:
            raise BadInput(f"--zones {self.zones}: must be between 1 and {MOST_ZONES}")
        if not 1 <= self.nodes_per_zone <= MOST_PER_ZONE:
            raise BadInput(f"--nodes-per-zone {self.nodes_per_zone}: must be between 1 and {MOST_PER_ZONE}")
        return self

    @property
    def zone_list(self) -> list[Zone]:
        return [self._zone(number) for number in range(self.zones)]

    @property
    def nodes(self) -> list[Node]:
        return [node for zone in self.zone_list for node in zone.nodes]

    @property
    def memory(self) -> int:
        """Estimated memory in MiB: an agent and a kubelet for each node, and the shared processes."""
        return 200 + 80 * self.zones * self.nodes_per_zone

    def node(self, name: str) -> Node:
        """The node of that name. Raises BadInput if there is none."""
        return self._of("node", self.nodes, name)

    def zone(self, name: str) -> Zone:
        """The zone of that name. Raises BadInput if there is none."""
        return self._of("zone", self.zone_list, name)

    def _of(self, kind: str, known: list[T], name: str) -> T:
        for item in known:
            if item.name == name:
                return item
        names = ", ".join(item.name for item in known)
        raise BadInput(f"lab {self.name} has no {kind} {name}: it has {names}")

    def _zone(self, number: int) -> Zone:
        letter = chr(ord("a") + number)
        name = f"zone-{letter}"
        nodes = tuple(
            Node(f"{letter}{count}", name, self._addresses(number, 10 + count))
            for count in range(1, self.nodes_per_zone + 1)
        )
        return Zone(name, self._addresses(number, 1), nodes)

    def _addresses(self, zone: int, last: int) -> tuple[str, ...]:
        four, six = f"172.31.{zone + 1}.{last}", f"fd31:0:0:{zone + 1:x}::{last:x}"
        return (four, six) if self.ipv6 else (four,)

    # --- names ---

    @property
    def prefix(self) -> str:
        """The prefix of the names of all its namespaces."""
        return f"rblab-{self.name}-"

    @property
    def router(self) -> str:
        """The name of the router's namespace."""
        return f"{self.prefix}router"

    def namespace(self, node: str) -> str:
        return f"{self.prefix}{node}"

    def topology(self) -> dict[str, Any]:
        """The topology in Romana's format: one network per family, with a group for each zone."""
        networks = [{"name": "pods", "cidr": PODS, "block_mask": BLOCK}]
        if self.ipv6:
            networks.append({"name": "pods6", "cidr": PODS_6, "block_mask": BLOCK_6})
        groups = [
            {"name": zone.name, "assignment": {ZONE_LABEL: zone.name}, "groups": []}
            for zone in self.zone_list
        ]
        return {
            "networks": networks,
            "topologies": [{"networks": [network["name"] for network in networks], "map": groups}],
        }


def check_name(name: str) -> str:
    """Raises BadInput if a lab cannot have this name."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"--name {name!r}: use lower-case letters and digits, at most 12")
    return name


def length_of(address: str) -> int:
    """The prefix length of a zone's subnet."""
    return 64 if ":" in address else 24


def labels(node: Node) -> dict[str, str]:
    return {HOST_LABEL: node.name, "kubernetes.io/os": "linux", ZONE_LABEL: node.zone}
