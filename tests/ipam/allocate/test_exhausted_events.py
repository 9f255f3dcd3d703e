"""What is full: a node's blocks, its group, the whole network. The event names it, and ends by itself."""

from __future__ import annotations

from romana_bus import events as ev
from tests.ipam.cluster import Cluster, topology
from tests.ipam.racks import RACKS


def cluster() -> Cluster:
    """Two racks of two blocks of four: n1 and n2 in rack a, n3 in rack b."""
    c = Cluster(topology("10.0.0.0/28", 30, *RACKS), warm_blocks=0, cooldown=0)
    for name, rack in (("n1", "a"), ("n2", "a"), ("n3", "b")):
        c.node(name, {"rack": rack})
    c.decide()
    return c


def fill(c: Cluster, node: str, count: int) -> None:
    for at in range(count):
        c.pod(f"web/{node}-{at}", node)
    c.decide()


def scope(c: Cluster) -> str:
    (event,) = c.newest(ev.AddressDenied)
    assert event.code == "exhausted"
    return event.scope


def test_node_blocks_are_full_while_blocks_of_other_nodes_are_not() -> None:
    c = cluster()
    fill(c, "n2", 1)
    fill(c, "n1", 5)
    assert scope(c) == "block"
    c.no_pod("web/n2-0")
    assert c.says()[-1] == "web/n1-4 on n1: 10.0.0.0"


def test_group_is_full_while_other_groups_are_not() -> None:
    c = cluster()
    fill(c, "n1", 9)
    assert scope(c) == "group"
    c.no_pod("web/n1-0")
    assert c.says()[-1] == "web/n1-8 on n1: 10.0.0.0"


def test_network_is_full() -> None:
    c = cluster()
    fill(c, "n3", 8)
    fill(c, "n1", 9)
    assert scope(c) == "network"
    c.no_pod("web/n1-3")
    assert c.says()[-1] == "web/n1-8 on n1: 10.0.0.3"


def test_reserved_and_cooling_addresses_are_not_free() -> None:
    c = Cluster(topology("10.0.0.0/28", 30, *RACKS), warm_blocks=0, cooldown=30_000_000)
    c.node("n1", {"rack": "a"})
    c.send(ev.RangeReserved(cidr="10.0.0.4/30"))
    fill(c, "n1", 4)
    c.no_pod("web/n1-0")
    c.pod("web/late", "n1")
    c.decide()
    assert scope(c) == "group"
    c.later(30)
    assert c.says() == ["web/late on n1: 10.0.0.0"]


def test_changes_of_other_groups_do_not_repeat_the_event() -> None:
    c = cluster()
    fill(c, "n1", 9)
    fill(c, "n3", 8)
    assert c.says() == []
    assert c.rebuilt().says() == []


def test_full_family_of_two_counts() -> None:
    document = {
        "networks": [
            {"name": "v4", "cidr": "10.0.0.0/31", "block_mask": 31},
            {"name": "v6", "cidr": "fd00::/64", "block_mask": 120},
        ],
        "topologies": [{"networks": ["v4", "v6"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0, cooldown=0)
    c.node("n1")
    fill(c, "n1", 3)
    assert scope(c) == "network"
    assert c.addresses() == {"web/n1-0": "10.0.0.0 fd00::", "web/n1-1": "10.0.0.1 fd00::1"}
