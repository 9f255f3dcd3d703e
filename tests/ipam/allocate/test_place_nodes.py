"""Where nodes go."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.errors import BadInput
from romana_bus.ipam import BadTopology, Settings, parse, refusals
from tests.ipam.cluster import Cluster, topology

ZONE = "topology.kubernetes.io/zone"
RACKS = topology(
    "10.0.0.0/24", 30,
    {"name": "a", "assignment": {"rack": "a"}, "groups": []},
    {"name": "b", "assignment": {"rack": "b"}, "groups": []},
    {"name": "any", "assignment": {"disk": "ssd"}, "groups": []},
)  # fmt: skip


def placed(cluster: Cluster) -> dict[str, str]:
    cluster.decide()
    return {host.node: host.placements[0].group for host in cluster.newest(ev.HostPlaced)}


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


def test_many_wishes_are_told_in_short() -> None:
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


def test_why_it_is_nowhere() -> None:
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


def test_a_node_that_no_group_takes_any_more_stays_where_it_has_addresses_until_they_have_cooled() -> None:
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


def test_a_node_that_goes_leaves_room_for_the_next_one_in_the_same_decision() -> None:
    c = Cluster(topology("10.0.0.0/24", 30, {"name": "a"}, {"name": "b"}), warm_blocks=0)
    c.node("n8")
    c.node("n9")
    assert placed(c) == {"n8": "a", "n9": "b"}
    c.no_node("n8")
    c.node("n1")
    assert c.says() == ["n8 is removed", "n1 is in net a 10.0.0.0/25"]


def test_a_node_that_goes_gives_everything_back_and_its_blocks_cool() -> None:
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


def test_a_node_that_goes_takes_nothing_from_pods_that_are_still_there_and_finds_all_as_it_was() -> None:
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


def test_of_a_node_that_is_gone_nothing_is_left_when_its_pods_are_gone() -> None:
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


# --- without a topology ---


def test_every_zone_gets_a_group_as_it_appears() -> None:
    c = Cluster(warm_blocks=0)
    c.node("n1", {ZONE: "b"})
    c.node("n2", {ZONE: "a"})
    assert c.says() == [
        "group a is 100.64.0.0/13",
        "group b is 100.72.0.0/13",
        "n1 is in default b 100.72.0.0/13",
        "n2 is in default a 100.64.0.0/13",
    ]
    c.node("n4", {ZONE: "c"})
    assert c.says() == ["group c is 100.80.0.0/13", "n4 is in default c 100.80.0.0/13"]


def test_where_no_node_shows_a_zone_all_of_them_are_in_one_group() -> None:
    c = Cluster(warm_blocks=0)
    c.node("n1")
    c.node("n2")
    assert c.says() == [
        "group no zone is 100.64.0.0/13",
        "n1 is in default no zone 100.64.0.0/13",
        "n2 is in default no zone 100.64.0.0/13",
    ]


def test_a_node_that_shows_its_zone_late_opens_no_group_of_its_own() -> None:
    c = Cluster(warm_blocks=0)
    c.node("n1", {ZONE: "a"})
    c.node("n2")
    assert c.says() == [
        "group a is 100.64.0.0/13",
        "n1 is in default a 100.64.0.0/13",
        f"n2 is nowhere: it has no label {ZONE} yet; "
        "it is placed once it has, or once a pod on it wants an address",
    ]
    c.pod("kube-system/proxy", "n2", host_network=True)
    assert c.says() == []
    c.node("n2", {ZONE: "a"})
    assert c.says() == ["n2 is in default a 100.64.0.0/13"]


@pytest.mark.parametrize("order", ["node first", "pod first"])
def test_a_pod_on_a_node_without_a_zone_does_not_wait_for_the_label(order: str) -> None:
    c = Cluster(warm_blocks=0)
    c.node("n1", {ZONE: "a"})
    c.decide()
    if order == "pod first":
        c.pod("web/p", "n2")
        c.decide()
        c.node("n2")
    else:
        c.node("n2")
        c.decide()
        c.pod("web/p", "n2")
    assert c.says()[:2] == ["group no zone is 100.72.0.0/13", "n2 is in default no zone 100.72.0.0/13"]
    assert [event.name for event in c.newest(ev.AddressAssigned)] == ["p"]


def test_a_node_that_loses_its_zone_for_a_while_moves_nothing_and_opens_nothing() -> None:
    c = Cluster(warm_blocks=0)
    c.node("n1", {ZONE: "a"})
    c.pod("web/p", "n1")
    c.decide()
    c.node("n1")
    assert c.says() == []
    c.node("n1", {ZONE: "a"})
    assert c.says() == []


def test_a_node_that_shows_another_zone_goes_there_and_opens_it() -> None:
    c = Cluster(warm_blocks=0)
    c.node("n1", {ZONE: "a"})
    c.pod("web/p", "n1")
    c.decide()
    c.node("n1", {ZONE: "b"})
    assert c.says() == ["group b is 100.72.0.0/13", "n1 is in default b 100.72.0.0/13"]
    assert c.addresses() == {"web/p": "100.64.0.0"}


def test_a_zone_keeps_its_slot_when_it_is_told_by_another_label() -> None:
    c = Cluster(warm_blocks=0)
    c.node("n1", {ZONE: "a", "zone": "b"})
    c.node("n2", {ZONE: "b", "zone": "a"})
    c.decide()
    c.settings = Settings(zone_label="zone", warm_blocks=0)
    c = c.rebuilt()
    assert c.says() == [
        "group a is 100.64.0.0/13",
        "group b is 100.72.0.0/13",
        "n1 is in default b 100.72.0.0/13",
        "n2 is in default a 100.64.0.0/13",
    ]


def test_the_ninth_zone_is_told_to_set_a_topology() -> None:
    c = Cluster(warm_blocks=0)
    for zone in "abcdefgh":
        c.node(f"n-{zone}", {ZONE: zone})
    c.decide()
    c.node("n-i", {ZONE: "i"})
    assert c.says() == [
        "n-i is nowhere: no group is left for i: the default network has a, b, c, d, e, f, g, h. "
        "Set a topology"
    ]


def test_a_topology_replaces_the_default_network_and_addresses_there_stay_until_they_go() -> None:
    c = Cluster(cooldown=0)
    c.node("n1")
    c.pod("web/old", "n1")
    c.decide()
    c.send(ev.TopologySet(document=topology()))
    c.pod("web/new", "n1")
    assert c.says() == [
        "100.64.0.16/28 from n1",
        "n1 is in net all 10.0.0.0/24",
        "10.0.0.0/30 to n1",
        "web/new on n1: 10.0.0.0",
        "10.0.0.4/30 to n1",
    ]
    c.no_pod("web/old")
    assert c.says() == ["web/old on n1: released, the pod is gone", "100.64.0.0/28 from n1"]


def test_the_default_network_may_be_any() -> None:
    c = Cluster(default_network="fd00::/64", default_block_mask=120, warm_blocks=0)
    c.node("n1")
    c.pod("web/p", "n1")
    assert c.says() == [
        "group no zone is fd00::/67",
        "n1 is in default no zone fd00::/67",
        "fd00::/120 to n1",
        "web/p on n1: fd00::",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"default_network": "10.0.0.1/8"},
        {"default_network": "10.0.0.0/8", "default_block_mask": 10},
        {"block_owner": "nobody"},
        {"cooldown": -1},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        Settings(**wrong)  # type: ignore[arg-type]


# --- the topology changes ---


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


def test_while_a_document_that_got_past_the_edge_is_the_newest_the_one_before_it_counts() -> None:
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


def test_the_default_counts_on_where_the_first_document_cannot_be_used() -> None:
    c = Cluster()
    c.node("n1", {ZONE: "a"})
    c.decide()
    c.send(ev.TopologySet(document={"networks": 4}))
    for cluster in (c, c.rebuilt()):
        cluster.pod("web/p", "n1")
        assert "web/p on n1: 100.64.0.0" in cluster.says()


def test_nothing_is_decided_where_no_document_is_known_that_can_be_used() -> None:
    c = Cluster({"networks": 4})
    c.node("n1")
    c.pod("web/p", "n1")
    assert c.says() == []
    assert c.state.obstacle.startswith("the topology document cannot be used")
    c.send(ev.TopologySet(document=topology()))
    assert "web/p on n1: 10.0.0.0" in c.says()


def test_one_that_nothing_takes_any_more_is_where_its_addresses_are() -> None:
    """Though it was placed elsewhere by then."""
    c = Cluster(topology("10.0.0.0/24", 30, *({"name": n, "assignment": {"rack": n}} for n in "abc")))
    c.node("n1", {"rack": "b"})
    c.pod("web/old", "n1")
    c.decide()
    c.node("n1", {"rack": "a"})
    c.decide()
    c.node("n1", {"rack": "elsewhere"})
    assert "n1 is in net b 10.0.0.64/26" in c.says()
