"""Pods with addresses of nodes, and nodes in networks that overlap what they live on, are told."""

from __future__ import annotations

from romana_bus import events as ev
from tests.ipam.audit.audited import cluster, orders


def test_pods_with_an_address_of_a_node_are_told_and_keep_it() -> None:
    c = cluster()
    c.lives_on("n2", gateways=("10.0.0.1", "10.0.0.7"), reached=("10.0.0.128",))
    c.decide()
    found = [one for one in c.found() if one.kind == "node"]
    assert [(one.pod, one.node, one.text) for one in found] == [
        ("web/b", "n1", "10.0.0.1 of web/b on n1 is a gateway of node n2"),
        ("web/c", "n2", "10.0.0.128 of web/c on n2 is an address of the log or the API server for node n2"),
    ]
    assert orders(c, found) == []


def test_nodes_that_stay_in_a_network_that_overlaps_their_links_are_told() -> None:
    c = cluster()
    c.lives_on("n1", connected=("10.0.0.128/26", "10.0.0.192/26"))
    c.lives_on("n2", connected=("192.0.2.0/24",), addresses=("192.0.2.2",))
    c.decide()
    found = c.found()
    assert [(one.kind, one.node) for one in found] == [("underlay", "n1")]
    overlap = "10.0.0.128/25 of group b overlaps 10.0.0.128/26, a connected prefix of node n1"
    assert found[0].text == f"node n1 is in network net, and {overlap}"
    assert orders(c, found) == []
    c.lives_on("n1", connected=("192.0.2.0/24",))
    assert c.found() == []


def test_a_network_that_its_node_is_not_placed_in_is_no_finding() -> None:
    c = cluster()
    document = c.table["spec.topology"].event.document  # type: ignore[attr-defined]
    other = {"name": "other", "cidr": "10.1.0.0/24"}
    maps = [*document["topologies"], {"networks": ["other"], "map": [{"groups": []}]}]
    c.lives_on("n1", connected=("10.1.0.0/16",))
    c.send(ev.TopologySet(document={"networks": [*document["networks"], other], "topologies": maps}))
    c.decide()
    assert c.found() == []
