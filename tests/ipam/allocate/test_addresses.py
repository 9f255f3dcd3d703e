"""Addresses: given, kept, given back, given again."""

from __future__ import annotations

from typing import Any

import pytest

from romana_bus import events as ev
from romana_bus.ipam import wake
from romana_bus.ipam.model.state import SECOND
from tests.ipam.cluster import Cluster, topology

DUAL = {
    "networks": [
        {"name": "four", "cidr": "10.0.0.0/29", "block_mask": 30},
        {"name": "six", "cidr": "fd00::/125", "block_mask": 126},
    ],
    "topologies": [{"networks": ["four", "six"], "map": [{"name": "all", "groups": []}]}],
}


def cluster(*, pods: tuple[str, ...] = ("web/a",), **settings: Any) -> Cluster:
    """One node with pods, and everything decided."""
    c = Cluster(topology("10.0.0.0/28", 30), **settings)
    c.node("n1")
    for key in pods:
        c.pod(key, "n1")
    c.decide()
    return c


def address_event(c: Cluster, key: str, node: str = "n1") -> ev.AddressEvent:
    event = c.table[f"ipam.address.{node}.{key.replace('/', '.')}"].event
    assert isinstance(event, ev.AddressEvent)
    return event


def test_pods_of_one_decision_come_by_namespace_and_name() -> None:
    c = cluster(pods=("web-2/x", "web/b", "web/a", "web.x/a"))
    assert c.addresses() == {
        "web/a": "10.0.0.0",
        "web/b": "10.0.0.1",
        "web-2/x": "10.0.0.2",
        "web.x/a": "10.0.0.3",
    }


def test_the_lowest_free_address_of_the_oldest_block_with_room() -> None:
    c = cluster(pods=tuple(f"web/{at}" for at in range(6)), cooldown=0)
    c.no_pod("web/1")
    c.no_pod("web/4")
    c.decide()
    c.pod("web/new", "n1")
    c.pod("web/newer", "n1")
    assert c.says() == ["web/new on n1: 10.0.0.1", "web/newer on n1: 10.0.0.4"]


def test_no_address_is_held_back_for_a_network_a_gateway_or_a_broadcast() -> None:
    c = cluster(pods=tuple(f"web/{at:02}" for at in range(16)))
    assert list(c.addresses().values()) == [f"10.0.0.{at}" for at in range(16)]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_finished_gives_its_address_back(phase: str) -> None:
    c = cluster()
    c.pod("web/a", "n1", phase=phase)
    assert c.says() == ["web/a on n1: released, the pod has finished"]


def test_a_pod_on_the_hosts_network_or_on_no_node_gets_none() -> None:
    c = cluster(pods=())
    c.pod("web/a", "n1", host_network=True)
    c.pod("web/b", "")
    assert c.says() == []


def test_a_pod_that_turns_to_the_hosts_network_gives_its_address_back() -> None:
    c = cluster()
    c.pod("web/a", "n1", host_network=True)
    assert c.says() == ["web/a on n1: released, the pod uses the host's network"]


def test_a_pod_of_the_same_name_elsewhere_is_another_one() -> None:
    c = cluster()
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
    c = cluster()
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


def test_an_address_is_given_again_when_it_has_cooled_and_not_before() -> None:
    c = cluster(pods=("web/a", "web/b"))
    c.no_pod("web/a")
    assert c.says() == ["web/a on n1: released, the pod is gone"]
    assert wake(c.state) == c.state.now + 30 * SECOND
    c.pod("web/c", "n1")
    assert c.says() == ["web/c on n1: 10.0.0.2"]
    c.later(30)
    assert wake(c.state) is None
    c.pod("web/d", "n1")
    assert c.says() == ["web/d on n1: 10.0.0.0"]


@pytest.mark.parametrize("first", [0, 1], ids=["the later end told first", "the earlier end told first"])
def test_of_two_pods_that_gave_one_address_back_the_later_end_holds(first: int) -> None:
    """Two entities of the table may name it, and come in any order."""
    c = cluster(pods=())
    told = [
        ev.AddressReleased(
            namespace="web", name=name, uid=name, node="n1",
            cooling=(ev.CoolingAddress(address="10.0.0.0", block="10.0.0.0/30", until=until * SECOND),),
        )
        for name, until in (("late", 1_300), ("early", 1_100))
    ]  # fmt: skip
    c.send(told[first], told[1 - first])
    c.tick(1_200)
    c.pod("web/a", "n1")
    assert c.says()[0] == "web/a on n1: 10.0.0.1"
    c.tick(1_300)
    c.pod("web/b", "n1")
    assert c.says() == ["web/b on n1: 10.0.0.0"]


def test_it_wakes_for_a_cooldown_that_still_counts() -> None:
    """Not for one that ended early, since its pod came back: also where it has gone again."""
    c = cluster(pods=("web/a",), warm_blocks=0)
    c.no_pod("web/a")
    c.decide()
    assert wake(c.state) == 1_030 * SECOND
    c.later(10)
    c.pod("web/a", "n1")
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0"}
    c.later(10)
    c.no_pod("web/a")
    c.decide()
    assert wake(c.state) == 1_050 * SECOND
    c.pod("web/a", "n1")
    c.decide()
    assert wake(c.state) is None


@pytest.mark.parametrize("released_again", [True, False])
def test_it_wakes_for_a_block_that_is_still_to_come_free(released_again: bool) -> None:
    c = cluster(warm_blocks=0)

    def release(until: int) -> ev.BlockReleased:
        return ev.BlockReleased(network="net", block="10.0.0.8/30", node="n1", at=c.state.now, until=until)

    first, second = c.state.now + 5 * SECOND, c.state.now + 9 * SECOND
    c.send(release(first), ev.BlockAssigned(network="net", block="10.0.0.8/30", node="n1", since=c.state.now))
    if released_again:
        c.send(release(second))
    assert wake(c.state) == (second if released_again else None)


def test_what_cools_in_a_nodes_block_is_heard_of_by_whoever_only_follows() -> None:
    """A standby, of what its leader decides."""
    c = cluster(pods=("web/a",))
    cools = ev.CoolingAddress(address="10.0.0.1", block="10.0.0.0/30", until=c.state.now + 5 * SECOND)
    c.send(ev.AddressReleased(namespace="web", name="b", uid="b", node="n1", cooling=(cools,)))
    c.pod("web/c", "n1")
    assert c.says() == ["web/c on n1: 10.0.0.2"]


def test_without_a_cooldown_it_is_free_at_once() -> None:
    c = cluster(cooldown=0)
    c.pod("web/a", "n1", uid="2")
    assert c.says() == [
        "web/a on n1: released, a new pod of the same name took its place",
        "web/a on n1: 10.0.0.0",
    ]
    assert wake(c.state) is None


def test_a_new_segment_is_published_and_the_address_stays() -> None:
    c = cluster()
    c.pod("web/a", "n1", "front")
    assert c.says() == ["web/a on n1: 10.0.0.0"]
    event = address_event(c, "web/a")
    assert isinstance(event, ev.AddressAssigned)
    assert (event.tenant, event.segment) == ("web", "front")


def test_status_that_nobody_uses_decides_nothing() -> None:
    c = cluster()
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


def test_all_or_nothing() -> None:
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


def test_who_is_named_nowhere_gets_what_is_for_everyone() -> None:
    c = Cluster(TENANTS, warm_blocks=0)
    c.node("n1")
    c.pod("db/a", "n1")
    c.pod("else/a", "n1")
    c.decide()
    assert c.addresses() == {"db/a": "10.2.0.0", "else/a": "10.1.0.0"}


# --- reserved ranges ---


def test_a_reserved_address_is_not_given_out_and_who_has_it_keeps_it() -> None:
    c = cluster(pods=("web/a", "web/b"), cooldown=0)
    c.send(ev.RangeReserved(cidr="10.0.0.0/31"))
    assert c.says() == []
    c.no_pod("web/a")
    c.pod("web/c", "n1")
    assert c.says() == ["web/a on n1: released, the pod is gone", "web/c on n1: 10.0.0.2"]
    c.send(ev.RangeUnreserved(cidr="10.0.0.0/31"))
    c.pod("web/d", "n1")
    assert c.says() == ["web/d on n1: 10.0.0.0"]


def test_a_block_that_is_all_reserved_is_passed_over_and_given_back() -> None:
    c = cluster()
    c.send(ev.RangeReserved(cidr="10.0.0.4/30"))
    assert c.says() == ["10.0.0.4/30 from n1", "10.0.0.8/30 to n1"]


def test_ranges_may_overlap() -> None:
    c = cluster(pods=(), warm_blocks=0)
    c.send(ev.RangeReserved(cidr="10.0.0.0/29"), ev.RangeReserved(cidr="10.0.0.0/30"))
    c.send(ev.RangeUnreserved(cidr="10.0.0.0/29"))
    c.pod("web/a", "n1")
    assert c.says() == ["10.0.0.4/30 to n1", "web/a on n1: 10.0.0.4"]


def test_a_node_recreated_under_its_name_with_another_address_begins_anew() -> None:
    """Its pods went with the machine; the map tells the new address."""
    c = cluster(pods=("web/a",))
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


def test_a_node_that_changes_its_address_is_told_and_nothing_else_happens() -> None:
    c = cluster(pods=("web/a",))
    before = c.addresses()
    c.send(ev.NodeSeen(resource_version=c.version(), uid="uid-n1", name="n1", addresses=("192.168.7.7",)))
    assert [type(decision.event) for decision in c.decide()] == [ev.HostPlaced]
    assert c.addresses() == before
