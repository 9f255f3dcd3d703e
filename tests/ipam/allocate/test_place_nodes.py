"""Where nodes are placed, as they come, change and go."""

from __future__ import annotations

from romana_bus import events as ev
from tests.ipam.cluster import Cluster, topology
from tests.ipam.placements import RACKS, placed


def test_the_leaf_with_the_fewest_hosts_takes_the_node_the_first_of_those() -> None:
    c = Cluster(topology("10.0.0.0/16", 28, {"name": "a"}, {"name": "b"}, {"name": "c"}))
    for name in ("n1", "n2", "n3", "n4", "n5"):
        c.node(name)
    assert placed(c) == {"n1": "a", "n2": "b", "n3": "c", "n4": "a", "n5": "b"}


def test_a_node_must_match_the_labels_of_its_group_and_of_every_group_above() -> None:
    document = topology(
        "10.0.0.0/16", 28,
        {"name": "x", "assignment": {"zone": "x"}, "groups": [{"name": "1", "assignment": {"rack": "1"}}]},
        {"name": "y", "assignment": {"zone": "y"}, "groups": [{"name": "1", "assignment": {"rack": "1"}}]},
    )  # fmt: skip
    c = Cluster(document, warm_blocks=0)
    c.node("n1", {"zone": "y", "rack": "1", "more": "labels"})
    c.node("n2", {"rack": "1"})
    assert c.says() == [
        "n1 is in net y/1 10.0.128.0/17",
        "n2 is nowhere: network net needs the label zone=x or zone=y",
    ]


def test_a_node_that_fits_nowhere_is_placed_once_its_labels_allow() -> None:
    c = Cluster(RACKS, warm_blocks=0)
    c.node("n1", {"rack": "z"})
    assert c.says() == ["n1 is nowhere: network net needs the label rack=a or rack=b or disk=ssd"]
    c.node("n1", {"rack": "z", "some": "label"})
    assert c.says() == []
    c.node("n1", {"rack": "b"})
    assert c.says() == ["n1 is in net b 10.0.0.64/26"]


def test_a_node_that_fits_nowhere_is_placed_once_the_topology_allows() -> None:
    c = Cluster(RACKS, warm_blocks=0)
    c.node("n1", {"rack": "z"})
    c.decide()
    c.send(ev.TopologySet(document=topology("10.0.0.0/24", 30)))
    assert c.says() == ["n1 is in net all 10.0.0.0/24"]


def test_long_list_of_required_labels_is_shortened() -> None:
    racks = [{"name": f"r{n}", "assignment": {"rack": f"r{n}"}} for n in range(9)]
    c = Cluster(topology("10.0.0.0/16", 30, *racks))
    c.node("n1")
    (said,) = c.says()
    assert said.endswith(
        "the label rack=r0 or rack=r1 or rack=r2 or rack=r3 or rack=r4 or rack=r5 or 3 others"
    )


def test_a_listed_node_goes_where_it_is_listed_whatever_its_labels_are() -> None:
    document = topology(
        "10.0.0.0/24", 30,
        {"name": "a"},
        {"name": "b", "assignment": {"x": "y"}, "groups": [{"name": "n2", "ip": "::1"}]},
    )  # fmt: skip
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    c.node("n2")
    assert placed(c) == {"n1": "a", "n2": "b"}


def test_a_listed_node_counts_before_it_is_there() -> None:
    listed = [{"name": "n1", "ip": "192.0.2.1"}, {"name": "n2", "ip": "192.0.2.2"}]
    c = Cluster(topology("10.0.0.0/24", 30, {"name": "a", "groups": listed}, {"name": "b"}))
    for name in ("n3", "n4", "n5"):
        c.node(name)
    assert placed(c) == {"n3": "b", "n4": "b", "n5": "a"}


def test_a_node_that_is_listed_in_one_network_is_in_no_other() -> None:
    document = {
        "networks": [{"name": "x", "cidr": "10.0.0.0/24"}, {"name": "y", "cidr": "10.1.0.0/24"}],
        "topologies": [
            {"networks": ["x"], "map": [{"groups": [{"name": "n1", "ip": "192.0.2.1"}]}]},
            {"networks": ["y"], "map": [{"groups": []}]},
        ],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    c.node("n2")
    assert c.says() == ["n1 is in x / 10.0.0.0/24", "n2 is in x / 10.0.0.0/24, y / 10.1.0.0/24"]


def test_reasons_why_a_node_has_no_placement() -> None:
    document = {
        "networks": [{"name": name, "cidr": f"10.{at}.0.0/24"} for at, name in enumerate(("x", "y", "z"))],
        "topologies": [
            {"networks": ["y"], "map": [{"assignment": {"disk": "ssd"}}]},
            {"networks": ["z"], "map": [{"assignment": {"row": "1", "rack": "a"}}]},
        ],
    }
    c = Cluster(document)
    c.node("n1", {"row": "1"})
    assert c.says() == [
        "n1 is nowhere: network x has no groups; network y needs the label disk=ssd; "
        "network z needs the label rack=a"
    ]


def test_all_placements_of_a_node_are_one_event_published_again_when_it_changes() -> None:
    c = Cluster(topology(), warm_blocks=0)
    c.node("n1")
    c.decide()
    c.node("n1", {"new": "label"})
    assert c.says() == []
    c.node("n1", uid="another machine")
    assert [decision.event for decision in c.decide()] == [c.table["ipam.map.host.n1"].event]


def test_a_node_moves_with_its_labels_and_its_pods_keep_their_addresses_until_they_go() -> None:
    c = Cluster(RACKS)
    c.node("n1", {"rack": "a"})
    c.pod("web/p", "n1")
    c.decide()
    c.node("n1", {"rack": "b"})
    assert c.says() == ["10.0.0.4/30 from n1", "n1 is in net b 10.0.0.64/26", "10.0.0.64/30 to n1"]
    c.pod("web/q", "n1")
    assert c.says()[0] == "web/q on n1: 10.0.0.64"
    assert c.addresses()["web/p"] == "10.0.0.0"
    c.no_pod("web/p")
    assert c.says() == ["web/p on n1: released, the pod is gone"]
    c.later(30)
    assert c.says() == ["10.0.0.0/30 from n1"]


def test_node_that_matches_no_group_stays_until_its_addresses_have_cooled() -> None:
    c = Cluster(RACKS)
    c.node("n1", {"rack": "a"})
    c.pod("web/p", "n1")
    c.decide()
    c.node("n1", {"rack": "z"})
    assert c.says() == []
    c.no_pod("web/p")
    assert c.says() == ["web/p on n1: released, the pod is gone"]
    c.later(30)
    assert c.says() == [
        "10.0.0.0/30 from n1",
        "10.0.0.4/30 from n1",
        "n1 is nowhere: network net needs the label rack=a or rack=b or disk=ssd",
    ]


def test_a_node_that_comes_back_to_where_its_pods_are_uses_its_blocks_again() -> None:
    c = Cluster(RACKS, warm_blocks=0)
    c.node("n1", {"rack": "a"})
    c.pod("web/p", "n1")
    c.decide()
    c.node("n1", {"rack": "b"})
    c.decide()
    c.node("n1", {"rack": "a"})
    c.pod("web/q", "n1")
    assert c.says() == ["n1 is in net a 10.0.0.0/26", "web/q on n1: 10.0.0.1"]


def test_a_node_stays_where_it_is_still_eligible_although_others_have_fewer() -> None:
    c = Cluster(topology("10.0.0.0/24", 30, {"name": "a"}, {"name": "b"}), warm_blocks=0)
    for name in ("n1", "n2", "n3"):
        c.node(name)
    assert placed(c) == {"n1": "a", "n2": "b", "n3": "a"}
    c.no_node("n2")
    c.node("n1", {"new": "label"})
    assert placed(c) == {"n1": "a", "n3": "a"}


def test_deleted_node_makes_space_in_the_same_decision() -> None:
    c = Cluster(topology("10.0.0.0/24", 30, {"name": "a"}, {"name": "b"}), warm_blocks=0)
    c.node("n8")
    c.node("n9")
    assert placed(c) == {"n8": "a", "n9": "b"}
    c.no_node("n8")
    c.node("n1")
    assert c.says() == ["n8 is removed", "n1 is in net a 10.0.0.0/25"]


def test_deleted_node_releases_everything_and_its_blocks_cool() -> None:
    c = Cluster(topology("10.0.0.0/28", 30))
    c.node("n1")
    c.pod("web/p", "n1")
    c.decide()
    c.no_node("n1")
    c.no_pod("web/p")
    c.node("n2")
    assert c.says() == [
        "web/p on n1: released, the pod is gone",
        "10.0.0.0/30 from n1",
        "10.0.0.4/30 from n1",
        "n1 is removed",
        "n2 is in net all 10.0.0.0/28",
        "10.0.0.8/30 to n2",
    ]
    for name in ("a", "b", "c", "d", "e", "f", "g", "h", "i"):
        c.pod(f"web/{name}", "n2")
    c.decide()
    assert c.denied() == {"web/i": "exhausted"}
    c.later(30)
    assert c.says() == ["10.0.0.0/30 to n2", "web/i on n2: 10.0.0.0", "10.0.0.4/30 to n2"]


def test_pods_of_a_deleted_node_keep_their_addresses_until_it_returns() -> None:
    """A kubelet that registers anew deletes and makes its node's object; pods of a node that is really gone
    are collected later."""
    c = Cluster(topology())
    c.node("n1")
    c.pod("web/p", "n1")
    c.decide()
    c.no_node("n1")
    assert c.says() == []
    assert c.rebuilt().says() == []
    c.pod("web/q", "n1")
    assert c.says() == ["web/q on n1: host_unknown"]
    c.node("n1", uid="another")
    assert c.says() == ["n1 is in net all 10.0.0.0/24", "web/q on n1: 10.0.0.1"]
    assert c.addresses()["web/p"] == "10.0.0.0"


def test_node_object_that_was_created_again_has_its_addresses_before_it_reports_them() -> None:
    """Its kubelet, or a cloud's controller, writes them a moment after the object: meanwhile other nodes need
    their routes to its pods."""
    c = Cluster(topology("10.0.0.0/24", 30))
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    (before,) = c.newest(ev.HostPlaced)
    assert before.addresses
    c.no_node("n1")
    c.decide()
    c.send(ev.NodeSeen(resource_version=c.version(), uid="uid-again", name="n1", addresses=(), labels={}))
    c.decide()
    assert [(host.uid, host.addresses) for host in c.newest(ev.HostPlaced)] == [
        ("uid-again", before.addresses)
    ]
    c.send(ev.NodeSeen(resource_version=c.version(), uid="uid-again", name="n1", addresses=("192.0.2.9",)))
    c.decide()
    assert [host.addresses for host in c.newest(ev.HostPlaced)] == [("192.0.2.9",)]


def test_deleted_node_leaves_nothing_after_its_pods_are_gone() -> None:
    c = Cluster(topology())
    c.node("n1")
    c.pod("web/p", "n1")
    c.pod("web/q", "n1")
    c.decide()
    c.no_node("n1")
    c.no_pod("web/q")
    assert c.says() == ["web/q on n1: released, the pod is gone"]
    c.no_pod("web/p")
    assert c.says() == [
        "web/p on n1: released, the pod is gone",
        "10.0.0.0/30 from n1",
        "10.0.0.4/30 from n1",
        "n1 is removed",
    ]
    c.later(60)
    assert c.says() == []
    assert c.state.hosts == {}
