"""Addresses: which pod gets which, of which family, for which tenant, and outside reserved ranges."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from tests.ipam.allocate.clusters import address_event, one_node
from tests.ipam.cluster import Cluster

DUAL = {
    "networks": [
        {"name": "four", "cidr": "10.0.0.0/29", "block_mask": 30},
        {"name": "six", "cidr": "fd00::/125", "block_mask": 126},
    ],
    "topologies": [{"networks": ["four", "six"], "map": [{"name": "all", "groups": []}]}],
}


def test_pods_of_one_decision_come_by_namespace_and_name() -> None:
    c = one_node(pods=("web-2/x", "web/b", "web/a", "web.x/a"))
    assert c.addresses() == {
        "web/a": "10.0.0.0",
        "web/b": "10.0.0.1",
        "web-2/x": "10.0.0.2",
        "web.x/a": "10.0.0.3",
    }


def test_lowest_free_address_of_the_oldest_block_that_is_not_full() -> None:
    c = one_node(pods=tuple(f"web/{at}" for at in range(6)), cooldown=0)
    c.no_pod("web/1")
    c.no_pod("web/4")
    c.decide()
    c.pod("web/new", "n1")
    c.pod("web/newer", "n1")
    assert c.says() == ["web/new on n1: 10.0.0.1", "web/newer on n1: 10.0.0.4"]


def test_no_address_is_held_back_for_a_network_a_gateway_or_a_broadcast() -> None:
    c = one_node(pods=tuple(f"web/{at:02}" for at in range(16)))
    assert list(c.addresses().values()) == [f"10.0.0.{at}" for at in range(16)]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_finished_gives_its_address_back(phase: str) -> None:
    c = one_node()
    c.pod("web/a", "n1", phase=phase)
    assert c.says() == ["web/a on n1: released, the pod has finished"]


def test_a_pod_on_the_hosts_network_or_on_no_node_gets_none() -> None:
    c = one_node(pods=())
    c.pod("web/a", "n1", host_network=True)
    c.pod("web/b", "")
    assert c.says() == []


def test_a_pod_that_turns_to_the_hosts_network_gives_its_address_back() -> None:
    c = one_node()
    c.pod("web/a", "n1", host_network=True)
    assert c.says() == ["web/a on n1: released, the pod uses the host's network"]


def test_a_pod_of_the_same_name_elsewhere_is_another_one() -> None:
    c = one_node()
    c.node("n2")
    c.decide()
    c.pod("web/a", "n2", uid="2")
    assert c.says() == [
        "web/a on n1: released, the pod is on node n2 now",
        "web/a on n2: 10.0.0.8",
        "10.0.0.12/30 to n2",
    ]


def test_a_pod_recreated_under_its_name_lists_what_its_predecessor_gave_back() -> None:
    """The newest message alone tells all: the old address is not free before its time."""
    c = one_node()
    c.pod("web/a", "n1", uid="2")
    assert c.says() == [
        "web/a on n1: released, a new pod of the same name took its place",
        "web/a on n1: 10.0.0.1",
    ]
    until = c.state.now + 30 * SECOND
    old = ev.CoolingAddress(address="10.0.0.0", block="10.0.0.0/30", until=until)
    assert address_event(c, "web/a").cooling == (old,)
    c.later(10)
    c.pod("web/a", "n1", uid="3")
    c.decide()
    assert [cooling.address for cooling in address_event(c, "web/a").cooling] == ["10.0.0.0", "10.0.0.1"]
    c.later(20)
    c.pod("web/a", "n1", uid="4")
    assert c.says()[1] == "web/a on n1: 10.0.0.0"
    assert [cooling.address for cooling in address_event(c, "web/a").cooling] == ["10.0.0.1", "10.0.0.2"]


def test_a_new_segment_is_published_and_the_address_stays() -> None:
    c = one_node()
    c.pod("web/a", "n1", "front")
    assert c.says() == ["web/a on n1: 10.0.0.0"]
    event = address_event(c, "web/a")
    assert isinstance(event, ev.AddressAssigned)
    assert (event.tenant, event.segment) == ("web", "front")


def test_unused_status_decides_nothing() -> None:
    c = one_node()
    c.pod("web/a", "n1", phase="Running", ips=("10.0.0.0",))
    assert c.says() == []


# --- families ---


def test_a_pod_gets_one_address_of_each_family() -> None:
    c = Cluster(DUAL, warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    assert c.says() == [
        "n1 is in four all 10.0.0.0/29, six all fd00::/125",
        "10.0.0.0/30 to n1",
        "fd00::/126 to n1",
        "web/a on n1: 10.0.0.0 fd00::",
    ]


def test_addresses_of_all_families_or_none() -> None:
    """No address of the other family is given meanwhile, and no block opened for it."""
    c = Cluster(DUAL, warm_blocks=0, cooldown=0)
    c.node("n1")
    c.send(ev.RangeReserved(cidr="fd00::/125"))
    c.pod("web/a", "n1")
    assert c.says() == ["n1 is in four all 10.0.0.0/29, six all fd00::/125", "web/a on n1: exhausted"]
    c.send(ev.RangeUnreserved(cidr="fd00::/125"))
    assert c.says()[-1] == "web/a on n1: 10.0.0.0 fd00::"


def test_a_family_counts_where_its_network_has_a_group_for_the_node() -> None:
    document = {
        "networks": DUAL["networks"],
        "topologies": [
            {"networks": ["four"], "map": [{"groups": []}]},
            {"networks": ["six"], "map": [{"assignment": {"six": "yes"}, "groups": []}]},
        ],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    c.node("n2", {"six": "yes"})
    c.pod("web/a", "n1")
    c.pod("web/b", "n2")
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0", "web/b": "10.0.0.4 fd00::"}


# --- tenants ---

TENANTS = {
    "networks": [
        {"name": "mine", "cidr": "10.0.0.0/30", "block_mask": 31, "tenants": ["web"]},
        {"name": "all", "cidr": "10.1.0.0/30", "block_mask": 31},
        {"name": "more", "cidr": "10.2.0.0/30", "block_mask": 31, "tenants": ["web", "db"]},
    ],
    "topologies": [{"networks": ["mine", "all", "more"], "map": [{"groups": []}]}],
}


def test_networks_that_name_the_tenant_come_first_and_then_those_for_everyone() -> None:
    c = Cluster(TENANTS, warm_blocks=0)
    c.node("n1")
    for at in range(13):
        c.pod(f"web/{at:02}", "n1")
    c.decide()
    given = [c.addresses()[f"web/{at:02}"][:6] for at in range(12)]
    assert given == ["10.0.0"] * 4 + ["10.2.0"] * 4 + ["10.1.0"] * 4
    assert c.denied() == {"web/12": "exhausted"}


def test_unnamed_tenant_gets_a_network_for_everyone() -> None:
    c = Cluster(TENANTS, warm_blocks=0)
    c.node("n1")
    c.pod("db/a", "n1")
    c.pod("else/a", "n1")
    c.decide()
    assert c.addresses() == {"db/a": "10.2.0.0", "else/a": "10.1.0.0"}


# --- reserved ranges ---


def test_reserved_address_is_not_assigned_and_its_owner_keeps_it() -> None:
    c = one_node(pods=("web/a", "web/b"), cooldown=0)
    c.send(ev.RangeReserved(cidr="10.0.0.0/31"))
    assert c.says() == []
    c.no_pod("web/a")
    c.pod("web/c", "n1")
    assert c.says() == ["web/a on n1: released, the pod is gone", "web/c on n1: 10.0.0.2"]
    c.send(ev.RangeUnreserved(cidr="10.0.0.0/31"))
    c.pod("web/d", "n1")
    assert c.says() == ["web/d on n1: 10.0.0.0"]


def test_a_block_that_is_all_reserved_is_passed_over_and_given_back() -> None:
    c = one_node()
    c.send(ev.RangeReserved(cidr="10.0.0.4/30"))
    assert c.says() == ["10.0.0.4/30 from n1", "10.0.0.8/30 to n1"]


def test_ranges_may_overlap() -> None:
    c = one_node(pods=(), warm_blocks=0)
    c.send(ev.RangeReserved(cidr="10.0.0.0/29"), ev.RangeReserved(cidr="10.0.0.0/30"))
    c.send(ev.RangeUnreserved(cidr="10.0.0.0/29"))
    c.pod("web/a", "n1")
    assert c.says() == ["10.0.0.4/30 to n1", "web/a on n1: 10.0.0.4"]


def test_node_recreated_with_another_address_starts_empty() -> None:
    """Its pods went with the machine; the map tells the new address."""
    c = one_node(pods=("web/a",))
    c.no_node("n1")
    c.decide()
    c.send(
        ev.NodeSeen(
            resource_version=c.version(), uid="another", name="n1", addresses=("192.168.7.7", "fd00::7")
        )
    )
    c.no_pod("web/a")
    c.pod("web/a", "n1", uid="new")
    c.decide()
    (placed,) = (event for event in c.newest(ev.HostPlaced) if event.node == "n1")
    assert (placed.uid, placed.addresses) == ("another", ("192.168.7.7", "fd00::7"))
    assert c.addresses()["web/a"] != "10.0.0.0", "that one cools"


def test_changed_node_address_only_publishes_the_placement() -> None:
    c = one_node(pods=("web/a",))
    before = c.addresses()
    c.send(ev.NodeSeen(resource_version=c.version(), uid="uid-n1", name="n1", addresses=("192.168.7.7",)))
    assert [type(decision.event) for decision in c.decide()] == [ev.HostPlaced]
    assert c.addresses() == before
