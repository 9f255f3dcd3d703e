"""What a change of a network, or from one topology to another, does to addresses."""

from __future__ import annotations

from romana_bus import events as ev
from romana_bus.inet import parse_prefix
from romana_bus.ipam.change.merge import merge
from tests.ipam.change.planned import ZONE, apply, cluster, hosts, plan, pods, zones
from tests.ipam.cluster import Cluster
from tests.ipam.invariants import blocks_do_not_overlap


def test_added_network() -> None:
    c = cluster(zones("a"), "a")
    document = zones("a")
    document["networks"].append({"name": "six", "cidr": "fd00::/64"})
    document["topologies"][0]["networks"].append("six")
    found = plan(c, document)
    assert [(one.network, one.kind) for one in found.networks] == [("net", "kept"), ("six", "opened")]
    assert found.safe
    assert [(one.network, one.kind) for one in found.hosts] == [("net", "stays"), ("six", "placed")]


def test_a_network_with_another_name() -> None:
    c = cluster(zones("a", "b"), "a", "b")
    document = zones("b", "a")
    document["networks"][0]["name"] = document["topologies"][0]["networks"][0] = "other"
    found = plan(c, document)
    (network,) = found.networks
    assert (network.kind, network.was_network, network.network) == ("changed", "net", "other")
    assert found.safe
    assert set(hosts(found).values()) == {"stays"}


def test_a_network_with_another_cidr() -> None:
    c = cluster(zones("a", "b"), "a", "b")
    found = plan(c, zones("a", "b", cidr="10.9.0.0/24"))
    assert [one.kind for one in found.groups] == ["moved", "moved"]
    assert pods(found.losing) == ["web/a0", "web/b0"]
    assert set(hosts(found).values()) == {"stays"}
    assert found.blocks_opened >= 2


def test_other_blocks_on_a_live_cluster() -> None:
    """Old ones live on, new ones have the new size, and never do two overlap."""
    c = cluster(zones("a", "b"), "a", "b", pods=3)
    before = c.addresses()
    for mask in (29, 28, 31, 30):
        document = zones("a", "b", mask=mask)
        found = plan(c, document)
        assert (found.safe, found.networks[0].block_mask) == (True, mask)
        apply(c, document)
        assert before.items() <= c.addresses().items()
        known = set(c.blocks())
        for at in range(9):
            c.pod(f"mask{mask}/{at}", "n-a")
        c.decide()
        blocks_do_not_overlap(c)
        fresh = {parse_prefix(text).length for text in set(c.blocks()) - known}
        assert fresh == {mask}


def test_from_the_default_topology_to_the_first_document() -> None:
    c = cluster(None, "z", "a")
    assert sorted(c.addresses().values()) == ["100.64.0.0", "100.72.0.0"]
    keeping = plan(c, zones("a", "z", cidr="100.64.0.0/10", mask=28))
    assert keeping.safe
    assert set(hosts(keeping).values()) == {"stays"}
    elsewhere = plan(c, zones("a", "z"))
    assert pods(elsewhere.losing) == ["web/a0", "web/z0"]
    assert [(one.network, one.kind) for one in elsewhere.networks] == [
        ("net", "opened"),
        ("default", "ended"),
    ]


def test_address_outside_every_group_cannot_be_lost() -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c")
    c.send(ev.TopologySet(document=merge(c.state.topology, zones("a", "c"))))
    c.decide()
    found = plan(c, zones("a", "c", mask=29))
    assert found.safe
    assert pods(found.homeless) == ["web/b0"]
    assert [one.already for one in found.blocks if one.kind == "outside"] == [True]
    back = plan(c, zones("a", "b", "c"))
    assert back.homeless == ()
    assert back.addresses_kept == 3


def test_addresses_that_a_node_left_in_another_group_do_not_stand_in_the_way() -> None:
    c = cluster(zones("a", "b", "c"), "a")
    c.node("n-a", {ZONE: "b"})
    c.decide()
    assert plan(c, zones("a", "b", "c", "d")).safe
    assert pods(plan(c, zones("b", "c")).losing) == ["web/a0"]


def test_when_the_topology_in_force_cannot_be_used() -> None:
    c = cluster(zones("a", "b"), "a")
    c.send(ev.TopologySet(document={"networks": []}))
    found = plan(c, zones("a", "b"))
    assert "the topology document cannot be used" in found.problem
    assert found.safe
    assert hosts(found) == {"n-a": "stays"}


def test_plan_of_an_empty_cluster() -> None:
    c = Cluster(synced=False)
    found = plan(c, zones("a", "b"))
    assert found.safe
    assert (found.hosts, found.blocks, found.addresses_kept) == ((), (), 0)
