"""What nodes live on: no pod gets such an address, and no node is placed in a network that overlaps it."""

from __future__ import annotations

from typing import Any

import pytest

from romana_bus import events as ev
from romana_bus.ipam.report import lookup
from tests.ipam.cluster import Cluster, topology

FIXED = "romana.io/address"
SMALL = topology("10.0.0.0/29", 30)


def seen(c: Cluster, node: str, *addresses: str) -> None:
    c.send(ev.NodeSeen(resource_version=c.version(), uid=f"uid-{node}", name=node, addresses=addresses))


def given(c: Cluster, pods: int, node: str = "n1") -> list[str]:
    """What so many pods get; '' for those that get nothing."""
    keys = [f"web/{n}" for n in range(pods)]
    for key in keys:
        c.pod(key, node)
    c.decide()
    return [c.addresses().get(key, "") for key in keys]


@pytest.mark.parametrize(
    "reported",
    [
        {"addresses": ("10.0.0.1",)},
        {"gateways": ("10.0.0.1",)},
        {"reached": ("10.0.0.1", "192.0.2.9")},
        {"addresses": ("10.0.0.1",), "gateways": ("10.0.0.1",)},
    ],
)
def test_an_address_that_a_node_lives_on_is_given_to_no_pod(reported: dict[str, Any]) -> None:
    """Also on other nodes, and in whole blocks that are opened later."""
    c = Cluster(SMALL)
    c.node("n1")
    c.decide()
    c.lives_on("n2", **reported)
    c.node("n2")
    c.decide()
    assert given(c, 8) == ["10.0.0.0", *(f"10.0.0.{n}" for n in range(2, 8)), ""]


def test_an_address_that_the_api_server_shows_of_a_node_is_given_to_no_pod() -> None:
    c = Cluster(SMALL)
    seen(c, "n1", "10.0.0.0", "10.0.0.6", "fd00::1", "not an address")
    assert given(c, 8) == [*(f"10.0.0.{n}" for n in (1, 2, 3, 4, 5, 7)), "", ""]


def test_a_block_of_addresses_of_nodes_alone_is_not_opened() -> None:
    c = Cluster(SMALL)
    seen(c, "n1", *(f"10.0.0.{n}" for n in range(4)))
    c.decide()
    assert c.blocks() == {"10.0.0.4/30": "n1"}


def test_an_address_counts_from_when_it_is_known_until_nobody_lives_on_it() -> None:
    """A gateway has several nodes; the last of them frees it."""
    c = Cluster(SMALL, cooldown=0)
    c.node("n1")
    assert given(c, 1) == ["10.0.0.0"]
    for node in ("n2", "n3"):
        c.lives_on(node, gateways=("10.0.0.1",))
        c.node(node)
    assert given(c, 2) == ["10.0.0.0", "10.0.0.2"]
    c.no_node("n2")
    assert given(c, 3) == ["10.0.0.0", "10.0.0.2", "10.0.0.3"]
    c.lives_on("n3", gateways=("192.0.2.1",))
    assert given(c, 4)[3] == "10.0.0.1"


def test_addresses_of_nodes_count_in_the_groups_of_a_new_topology() -> None:
    c = Cluster(SMALL)
    seen(c, "n1", "10.1.0.0")
    c.decide()
    c.send(ev.TopologySet(document=topology("10.1.0.0/29", 30)))
    assert given(c, 1) == ["10.1.0.1"]


def test_a_pod_that_waits_for_the_last_address_gets_it_when_no_node_lives_on_it_any_more() -> None:
    c = Cluster(topology("10.0.0.0/30", 30))
    seen(c, "n1", "10.0.0.3")
    assert given(c, 4)[3] == ""
    seen(c, "n1", "192.0.2.1")
    c.decide()
    assert c.addresses()["web/3"] == "10.0.0.3"


def test_a_running_pod_keeps_an_address_that_turns_out_to_be_a_nodes() -> None:
    c = Cluster(SMALL, cooldown=0)
    c.node("n1")
    assert given(c, 1) == ["10.0.0.0"]
    c.lives_on("n2", gateways=("10.0.0.0",))
    c.node("n2")
    c.node("n1", {"more": "labels"})
    c.decide()
    assert c.addresses() == {"web/0": "10.0.0.0"}
    assert c.rebuilt().decide() == [], "a restart takes nothing either"
    c.no_pod("web/0")
    c.decide()
    assert given(c, 1) == ["10.0.0.1"]


def test_a_request_for_an_address_of_a_node_is_denied_with_the_reason() -> None:
    c = Cluster(SMALL)
    c.node("n1")
    c.lives_on("n2", gateways=("10.0.0.5",))
    c.node("n2")
    c.pod("web/a", "n1", annotations={FIXED: "10.0.0.5"})
    c.decide()
    [denied] = c.newest(ev.AddressDenied)
    assert (denied.code, denied.reason) == ("wish", "10.0.0.5 is a gateway of node n2: request another one")
    view = lookup.address(c.state, "10.0.0.5")
    assert (view.state, view.of_node) == ("reserved", "a gateway of node n2")
    c.lives_on("n2", gateways=("192.0.2.1",))
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.5"}, "and is met when nobody lives on it any more"


@pytest.mark.parametrize("becomes_a_nodes", [False, True])
def test_a_sticky_pod_gets_another_address_if_its_own_is_a_nodes_by_now(becomes_a_nodes: bool) -> None:
    c = Cluster(topology("10.0.0.0/28", 30))
    c.node("n1")
    c.pod("web/a", "n1", annotations={"romana.io/sticky-address": "5m"})
    c.decide()
    kept = c.addresses()["web/a"]
    c.no_pod("web/a")
    c.decide()
    if becomes_a_nodes:
        c.lives_on("n2", reached=(kept,))
        c.node("n2")
    c.pod("web/a", "n1", uid="next", annotations={"romana.io/sticky-address": "5m"})
    c.decide()
    assert (c.addresses()["web/a"] != kept) == becomes_a_nodes


# --- placement -------------------------------------------------------------------------------------------

OVERLAPS = [
    # what is reported, and what it is to the node
    ({"connected": ("10.0.0.0/30",)}, "10.0.0.0/30, a connected prefix of node n1"),  # longer than the group
    ({"connected": ("10.0.0.0/25",)}, "10.0.0.0/25, a connected prefix of node n1"),  # equal
    ({"connected": ("10.0.0.0/8",)}, "10.0.0.0/8, a connected prefix of node n1"),  # shorter
    ({"connected": ("192.0.2.0/24", "10.0.0.4/30")}, "10.0.0.4/30, a connected prefix of node n1"),
    ({"addresses": ("10.0.0.9",)}, "10.0.0.9, an address of node n1"),
    ({"gateways": ("10.0.0.9",)}, "10.0.0.9, a gateway of node n1"),
    ({"reached": ("10.0.0.9",)}, "10.0.0.9, an address of the log or the API server for node n1"),
    ({"connected": ("10.0.0.128/26",)}, None),  # another group of the network, see below
    ({"connected": ("10.0.1.0/24", "fd00::/64"), "addresses": ("10.0.1.9",)}, None),
    ({}, None),
]


@pytest.mark.parametrize("first", ["node", "report"])
@pytest.mark.parametrize(("reported", "what"), OVERLAPS)
def test_a_node_is_not_placed_in_a_network_that_overlaps_what_it_lives_on(
    first: str, reported: dict[str, Any], what: str | None
) -> None:
    c = Cluster(topology("10.0.0.0/24", 30, {"name": "a"}, {"name": "b", "assignment": {"x": "y"}}))
    if first == "node":
        c.node("n1")
        c.decide()
    c.lives_on("n1", **reported)
    if first == "report":
        c.node("n1")
    c.decide()
    if reported.get("connected") == ("10.0.0.128/26",):
        group, what = "10.0.0.128/25 of group b", "10.0.0.128/26, a connected prefix of node n1"
    else:
        group = "10.0.0.0/25 of group a"
    if what is None:
        assert [host.node for host in c.newest(ev.HostPlaced)] == ["n1"]
        return
    [denied] = c.newest(ev.HostDenied)
    assert denied.reason == (
        f"network net: {group} overlaps {what}: set a topology with another cidr (romana-bus topology apply)"
    )
    assert c.blocks() == {}
    c.pod("web/a", "n1")
    c.decide()
    [pod] = c.newest(ev.AddressDenied)
    assert (pod.code, pod.reason) == ("host_denied", f"node n1 is in no group: {denied.reason}")
    c.send(ev.TopologySet(document=topology("172.20.0.0/24", 30)))
    c.decide()
    assert c.addresses() == {"web/a": "172.20.0.0"}, "placed as soon as the topology allows"


def test_the_default_network_is_named_with_what_changes_it() -> None:
    c = Cluster()
    c.node("n1", {"topology.kubernetes.io/zone": "a"})
    c.decide()
    c.lives_on("n1", connected=("100.64.3.0/24",))
    assert c.says()[-1] == (
        "n1 is nowhere: network default: 100.64.0.0/13 of group a overlaps 100.64.3.0/24, a connected prefix "
        "of node n1: set a topology of its own (romana-bus topology apply), or another --network "
        "(romana-bus ipam settings set)"
    )
    c.lives_on("n1", connected=("192.0.2.0/24",))
    assert c.says()[0] == "n1 is in default a 100.64.0.0/13"


def test_a_node_with_pods_stays_until_their_addresses_have_cooled_down() -> None:
    """A report takes no running pod's address away, nor does a restart; new pods get addresses meanwhile."""
    c = Cluster(topology("10.0.0.0/24", 30))
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    c.lives_on("n1", connected=("10.0.0.128/25",))
    assert c.says() == []
    assert c.rebuilt().says() == []
    c.pod("web/b", "n1")
    assert c.says() == ["web/b on n1: 10.0.0.1"]
    c.no_pod("web/a")
    c.no_pod("web/b")
    c.decide()
    assert len(c.newest(ev.HostPlaced)) == 1
    c.later(31)
    assert c.says()[-1].startswith("n1 is nowhere: network net: 10.0.0.0/24 of group all overlaps")


def test_a_node_whose_pods_run_with_addresses_that_the_log_has_lost_is_placed() -> None:
    c = Cluster(topology("10.0.0.0/24", 30))
    c.lives_on("n1", connected=("10.0.0.128/25",))
    c.node("n1")
    c.pod("web/a", "n1", ips=("10.0.0.7",))
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.7"}


def test_a_node_is_placed_in_the_networks_that_do_not_overlap() -> None:
    document = {
        "networks": [{"name": "x", "cidr": "10.0.0.0/24"}, {"name": "y", "cidr": "10.1.0.0/24"}],
        "topologies": [{"networks": ["x", "y"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0)
    c.lives_on("n1", connected=("10.0.0.0/24",))
    c.node("n1")
    assert c.says() == ["n1 is in y / 10.1.0.0/24"]
