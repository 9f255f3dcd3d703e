"""What a test is made of: nodes, ends, checks and their outcomes. Pure."""

from __future__ import annotations

from typing import NamedTuple

#: The kinds of checks, as `--skip` names them, and what a row of the table says of each.
KINDS = {
    "pod": "pod to pod",
    "node": "pod to node",
    "host": "node to pod",
    "nodes": "node to node",
    "api": "API server",
    "hostport": "hostPort",
    "dns": "name of the API server",
}
FAMILIES = (4, 6)


def family_of(address: str) -> int:
    return 6 if ":" in address else 4


class Node(NamedTuple):
    """A node that gets probes. `zone`: '' if it has no label. `addresses`: its InternalIPs, at most one of
    each family. `port`: the kubelet's."""

    name: str
    zone: str
    addresses: tuple[str, ...]
    port: int = 10250


class End(NamedTuple):
    """One end of a check: a pod on a node, or the node itself. `node`: '' for what is on no node."""

    kind: str
    node: str

    def __str__(self) -> str:
        return {"pod": f"pod on {self.node}", "node": f"node {self.node}"}.get(self.kind, self.kind)


def pod_on(node: str) -> End:
    return End("pod", node)


def host_of(node: str) -> End:
    return End("node", node)


API = End("API server", "")

#: What must answer: the listener whose name is given; anybody who accepts the connection; or anybody, since a
#: refused connection comes from the target too.
ACCEPTED, ANSWERED = "+", "-"


class Check(NamedTuple):
    """A TCP connection. `place`: same node, same zone, across zones, or ''. `family`: 4, 6, or 0 for a name.
    `says`: who must answer: ACCEPTED, ANSWERED, or the name of a listener."""

    kind: str
    source: End
    target: End
    place: str
    family: int
    address: str
    port: int
    says: str


class Outcome(NamedTuple):
    """The outcome of a check. `said`: what the connection failed with; '' if it succeeded."""

    check: Check
    ok: bool
    said: str = ""
