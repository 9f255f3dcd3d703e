"""What `status` says of nodes that are not set up as they should be: their addresses, and what their agents
found on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from romana_bus import events as ev
from tests.cli.logs import ago, answering, stored
from tests.ipam.cluster import topology

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.ipam.cluster import Cluster
    from tests.servers import NatsServer

pytestmark = pytest.mark.usefixtures("as_written")

DROP = "the policy of FORWARD is DROP (iptables): IPv4 packets of pods are dropped where no rule accepts them"
NOTE = "no IPv4 default route: pods cannot reach what is outside of the cluster"


def cluster(*cidrs: str, **nodes: tuple[str, ...]) -> Cluster:
    """Nodes with these addresses, placed, whose agents have reported."""
    document = topology(cidrs[0], 28)
    for number, cidr in enumerate(cidrs[1:]):
        more = topology(cidr, 120)
        name = f"more{number}"
        document["networks"].append(more["networks"][0] | {"name": name})
        document["topologies"].append(more["topologies"][0] | {"networks": [name]})
    c = ago(60, document)
    for name, addresses in nodes.items():
        c.send(ev.NodeSeen(resource_version=c.version(), uid=name, name=name, addresses=addresses))
    c.decide()
    report(c, *nodes)
    return c


def report(c: Cluster, *nodes: str) -> None:
    for name in nodes:
        c.send(ev.Applied(node=name, consumer="routes", covers={"IPAM": c.seqs["IPAM"]}))


def troubles(server: NatsServer, call: Call, c: Cluster, *answer: str) -> dict[str, list[str]]:
    """What `status` calls trouble, by node; the same as for people."""
    options = stored(server, c)
    with answering(options, c, *answer):
        nodes = call("status", "--json", *options).json["nodes"]
        shown = " ".join(call("status", *options).out.split())
    found = {node["node"]: node["trouble"] for node in nodes}
    for text in (text for texts in found.values() for text in texts):
        assert " ".join(text.split()) in shown
    return found


def test_node_without_an_address(nats_server: NatsServer, call: Call) -> None:
    c = cluster("10.0.0.0/16", n1=("172.31.1.10",), n2=(), n3=("not-an-address",))
    found = troubles(nats_server, call, c, "n1", "n2", "n3")
    why = "no InternalIP: other nodes have no route to its pods; set kubelet --node-ip"
    assert found == {"n1": [], "n2": [why], "n3": [why]}


def test_node_without_an_address_of_one_family(nats_server: NatsServer, call: Call) -> None:
    """It has no place in the network of that family; one that it has since before stays, and is told too."""
    both = ("172.31.1.10", "fd31::10")
    c = cluster("10.0.0.0/16", "fd10::/112", n1=both, n2=("172.31.1.11",), n3=("fd31::12",), n4=both)
    before = c.newest(ev.HostPlaced)[-1]
    assert before.node == "n4"
    c.send(msgspec.structs.replace(before, addresses=("172.31.1.13",)))
    report(c, "n1", "n2", "n3", "n4")
    found = troubles(nats_server, call, c, "n1", "n2", "n3", "n4")
    assert found["n1"] == []
    for node, network, family in (("n2", "more0", "IPv6"), ("n3", "net", "IPv4")):
        [said] = found[node]
        assert said.startswith(f"network {network} is {family}, and node {node} has no {family} address: ")
    [said] = found["n4"]
    assert said.startswith("no InternalIP of IPv6: other nodes have no route to the IPv6 addresses of its ")


def test_nodes_with_one_address(nats_server: NatsServer, call: Call) -> None:
    c = cluster("10.0.0.0/16", n1=("172.31.1.10",), n2=("172.31.1.10",), n3=("172.31.1.12",))
    found = troubles(nats_server, call, c, "n1", "n2", "n3")
    assert found["n3"] == []
    for node, other in (("n1", "n2"), ("n2", "n1")):
        [said] = found[node]
        assert said == (
            f"{other} has the address of {node} (172.31.1.10): packets to the pods of both go to the machine "
            "that answers there; set kubelet --node-ip to an address that no other node has"
        )


def test_many_nodes_with_one_address(nats_server: NatsServer, call: Call) -> None:
    """As of virtual machines that all have one behind address translation."""
    names = [f"n{number}" for number in range(1, 7)]
    c = cluster("10.0.0.0/16", "fd10::/112", **dict.fromkeys(names, ("fd31:0::15",)))
    found = troubles(nats_server, call, c, *names)
    [_, said] = found["n1"]  # they have no IPv4 address either
    assert said.startswith(
        "n2, n3, n4, ... have the address of n1 (fd31::15): packets to the pods of all go "
    )


def test_what_an_agent_found_on_its_node(nats_server: NatsServer, call: Call) -> None:
    c = cluster("10.0.0.0/16", n1=("172.31.1.10",), n2=("172.31.1.11",), n3=("172.31.1.12",))
    c.send(ev.NodeChecked(node="n1", consumer="node", problems=(DROP,), notes=(NOTE,)))
    c.send(ev.NodeChecked(node="n2", consumer="node", problems=(DROP,)))
    c.send(ev.NodeChecked(node="n2", consumer="node"))  # no longer
    c.send(ev.NodeChecked(node="n3", consumer="node", notes=(NOTE,)))
    c.send(ev.NodeChecked(node="gone", consumer="node", problems=(DROP,)))
    options = stored(nats_server, c)
    with answering(options, c, "n1", "n2", "n3"):
        result = call("status", *options)
        nodes = {node["node"]: node for node in call("status", "--json", *options).json["nodes"]}
        shown = call("events", "tail", "--no-follow", "--all", *options).out
    assert {name: node["trouble"] for name, node in nodes.items()} == {"n1": [DROP], "n2": [], "n3": []}
    assert {name: node["notes"] for name, node in nodes.items()} == {"n1": [NOTE], "n2": [], "n3": [NOTE]}
    text = " ".join(result.out.split())
    assert (text.count(DROP), text.count(NOTE)) == (1, 2)
    assert "3 nodes: 0 routes, 0 addresses wired; 1 with trouble" in result.lines
    assert f"node on n1 says: {DROP}; {NOTE}" in " ".join(shown.split())


def test_newer_answer_counts(nats_server: NatsServer, call: Call) -> None:
    """What an agent answers is newer than what it has stored."""
    c = cluster("10.0.0.0/16", n1=("172.31.1.10",))
    c.send(ev.NodeChecked(node="n1", consumer="node", problems=(DROP,)))
    options = stored(nats_server, c)
    c.send(ev.NodeChecked(node="n1", consumer="node"))
    with answering(options, c, "n1"):
        [node] = call("status", "--json", *options).json["nodes"]
    assert node["trouble"] == []
