"""A node has a place in networks of the families of its own addresses: others had no next hop to its pods."""

from __future__ import annotations

from romana_bus import events as ev
from tests.ipam.cluster import Cluster

FOUR = {"name": "four", "cidr": "10.0.0.0/29", "block_mask": 30}
SIX = {"name": "six", "cidr": "fd00::/125", "block_mask": 126}
A4, A6 = "192.168.0.7", "fc00:ff::7"
WHY = "network six is IPv6, and node n1 has no IPv6 address: let its kubelet report one (--node-ip)"


def cluster(*networks: dict[str, object]) -> Cluster:
    names = [network["name"] for network in networks]
    topologies = [{"networks": [name], "map": [{"groups": []}]} for name in names]
    return Cluster({"networks": [*networks], "topologies": topologies}, warm_blocks=0)


def lacks(c: Cluster) -> str:
    event = c.table["ipam.map.host.n1"].event
    assert isinstance(event, ev.HostPlaced)
    return event.lacks


def test_pods_have_no_ipv6_until_their_node_has() -> None:
    c = cluster(FOUR, SIX)
    c.node("n1", addresses=(A4,))
    c.pod("web/a", "n1")
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0"}
    assert lacks(c) == WHY
    c.node("n1", addresses=(A4, A6))
    c.pod("web/b", "n1")
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0", "web/b": "10.0.0.1 fd00::"}
    assert lacks(c) == ""


def test_node_of_the_other_family_alone_has_no_place() -> None:
    c = cluster(SIX)
    c.node("n1", addresses=(A4,))
    c.pod("web/a", "n1")
    assert c.says() == ["n1 is nowhere: " + WHY, "web/a on n1: host_denied"]
    c.node("n1", addresses=(A6,))
    assert c.says()[-1] == "web/a on n1: fd00::"


def test_ipv6_node_has_no_ipv4_place() -> None:
    c = cluster(FOUR, SIX)
    c.node("n1", addresses=(A6,))
    c.pod("web/a", "n1")
    c.decide()
    assert c.addresses() == {"web/a": "fd00::"}
    assert lacks(c).startswith("network four is IPv4, and node n1 has no IPv4 address")


def test_node_without_an_address_yet_may_get_one_of_each() -> None:
    c = cluster(FOUR, SIX)
    c.node("n1", addresses=())
    c.pod("web/a", "n1")
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0 fd00::"}


def test_pods_keep_what_they_have_when_their_node_loses_its_address() -> None:
    c = cluster(FOUR, SIX)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    c.node("n1", addresses=(A4,))
    c.pod("web/b", "n1")
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0 fd00::", "web/b": "10.0.0.1 fd00::1"}
    c.no_pod("web/a")
    c.no_pod("web/b")
    c.decide()
    c.later(60)
    c.decide()
    assert lacks(c) == WHY
    c.pod("web/c", "n1")
    c.decide()
    assert ":" not in c.addresses()["web/c"]
