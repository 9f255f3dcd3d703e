"""Where nodes are placed when the topology changes."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.ipam import BadTopology, parse, refusals
from tests.ipam.cluster import Cluster, topology
from tests.ipam.placements import ZONE, placed


def test_a_network_may_be_renamed() -> None:
    c = Cluster(topology())
    c.node("n1")
    c.pod("web/p", "n1")
    c.decide()
    renamed = topology()
    renamed["networks"][0]["name"] = renamed["topologies"][0]["networks"][0] = "other"
    c.send(ev.TopologySet(document=renamed))
    assert c.says() == ["n1 is in other all 10.0.0.0/24"]
    c.pod("web/q", "n1")
    assert c.says() == ["web/q on n1: 10.0.0.1"]


def test_a_group_that_grows_keeps_its_hosts() -> None:
    """By where the prefix is: what was a group of a quarter is inside a group of a half."""
    four = [{"name": name} for name in "abcd"]
    c = Cluster(topology("10.0.0.0/24", 30, *four), warm_blocks=0)
    for name in ("n1", "n2", "n3", "n4"):
        c.node(name)
    c.decide()
    c.send(ev.TopologySet(document=topology("10.0.0.0/24", 30, *four[:2])))
    assert placed(c) == {"n1": "a", "n2": "a", "n3": "b", "n4": "b"}


def test_a_host_whose_group_was_split_goes_where_its_oldest_addresses_are() -> None:
    c = Cluster(topology("10.0.0.0/28", 31), warm_blocks=0, cooldown=0)
    c.node("n1")
    for at in range(10):
        c.pod(f"web/{at}", "n1")
    c.decide()
    for at in range(8):
        c.no_pod(f"web/{at}")
    c.decide()
    c.send(ev.TopologySet(document=topology("10.0.0.0/28", 31, {"name": "a"}, {"name": "b"})))
    assert placed(c) == {"n1": "b"}


def test_previous_topology_counts_while_the_newest_is_invalid() -> None:
    c = Cluster(topology())
    c.node("n1")
    c.decide()
    with pytest.raises(BadTopology):
        parse({})
    c.send(ev.TopologySet(document={}))
    ((stream, _, subject, reason),) = refusals(c.state)
    assert (stream, subject) == ("SPEC", "spec.topology")
    assert reason.startswith("the topology document cannot be used: networks: a list")
    for cluster in (c, c.rebuilt()):
        cluster.pod("web/p", "n1")
        assert cluster.says() == ["web/p on n1: 10.0.0.0", "10.0.0.4/30 to n1"]
        cluster.send(ev.TopologySet(document=topology("10.9.0.0/24")))
        assert "n1 is in net all 10.9.0.0/24" in cluster.says()


def test_default_topology_counts_while_the_first_document_is_invalid() -> None:
    c = Cluster()
    c.node("n1", {ZONE: "a"})
    c.decide()
    c.send(ev.TopologySet(document={"networks": 4}))
    for cluster in (c, c.rebuilt()):
        cluster.pod("web/p", "n1")
        assert "web/p on n1: 100.64.0.0" in cluster.says()


def test_nothing_is_decided_without_a_valid_topology() -> None:
    c = Cluster({"networks": 4})
    c.node("n1")
    c.pod("web/p", "n1")
    assert c.says() == []
    assert c.state.obstacle.startswith("the topology document cannot be used")
    c.send(ev.TopologySet(document=topology()))
    assert "web/p on n1: 10.0.0.0" in c.says()


def test_node_that_matches_no_group_stays_where_its_addresses_are() -> None:
    """Though it was placed elsewhere by then."""
    c = Cluster(topology("10.0.0.0/24", 30, *({"name": n, "assignment": {"rack": n}} for n in "abc")))
    c.node("n1", {"rack": "b"})
    c.pod("web/old", "n1")
    c.decide()
    c.node("n1", {"rack": "a"})
    c.decide()
    c.node("n1", {"rack": "elsewhere"})
    assert "n1 is in net b 10.0.0.64/26" in c.says()
