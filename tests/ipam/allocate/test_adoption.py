"""Pods that run already, with addresses: the truth is restored after the store was lost."""

from __future__ import annotations

from typing import Any

import pytest

from romana_bus import events as ev
from tests.ipam.cluster import Cluster, topology

ZONE = "topology.kubernetes.io/zone"


def cluster(**settings: Any) -> Cluster:
    c = Cluster(topology("10.0.0.0/27", 30), **{"warm_blocks": 0, **settings})
    c.node("n1")
    return c


def test_a_pod_keeps_the_address_that_it_reports() -> None:
    c = cluster()
    c.pod("web/a", "n1", ips=("10.0.0.22",))
    assert c.says() == ["n1 is in net all 10.0.0.0/27", "10.0.0.20/30 to n1", "web/a on n1: 10.0.0.22"]


def test_those_that_report_one_come_before_those_that_need_one() -> None:
    c = cluster()
    c.pod("web/a", "n1")
    c.pod("web/b", "n1", ips=("10.0.0.0",))
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.1", "web/b": "10.0.0.0"}


def test_two_pods_do_not_adopt_the_same_address() -> None:
    c = cluster()
    c.pod("web/b", "n1", ips=("10.0.0.0",))
    c.pod("web/a", "n1", ips=("10.0.0.0",))
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0", "web/b": "10.0.0.1"}


def test_address_in_another_hosts_block_is_not_adopted() -> None:
    c = cluster()
    c.node("n2")
    c.pod("web/a", "n1", ips=("10.0.0.0",))
    c.decide()
    c.pod("web/b", "n2", ips=("10.0.0.1",))
    assert c.says() == ["10.0.0.4/30 to n2", "web/b on n2: 10.0.0.4"]


def test_address_in_another_owners_block_is_not_adopted() -> None:
    c = cluster(block_owner="tenant")
    c.pod("web/a", "n1", ips=("10.0.0.0",))
    c.decide()
    c.pod("db/a", "n1", ips=("10.0.0.1",))
    assert c.says() == ["10.0.0.4/30 to n1 for db", "db/a on n1: 10.0.0.4"]


def test_addresses_outside_our_networks_are_ignored() -> None:
    c = cluster()
    c.pod("web/a", "n1", ips=("172.16.0.9", "fe80::1", "nonsense"))
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0"}


def test_cooling_address_is_adopted_by_the_pod_that_reports_it() -> None:
    """As after the loss of a log that knew of the change: the pod lives there, whoever had it before."""
    c = cluster()
    c.pod("web/a", "n1")
    c.decide()
    c.no_pod("web/a")
    c.decide()
    c.pod("web/b", "n1", ips=("10.0.0.0",))
    assert c.says() == ["web/b on n1: 10.0.0.0"]
    c.pod("web/a", "n1")
    assert c.says() == ["web/a on n1: 10.0.0.1"]


def test_cooling_address_returns_to_the_name_of_its_pod() -> None:
    c = cluster()
    c.pod("web/a", "n1")
    c.decide()
    c.no_pod("web/a")
    c.decide()
    c.pod("web/b", "n1")
    assert c.says() == ["web/b on n1: 10.0.0.1"]
    c.pod("web/a", "n1", uid="2", ips=("10.0.0.0",))
    assert c.says() == ["web/a on n1: 10.0.0.0"]
    event = c.table["ipam.address.n1.web.a"].event
    assert isinstance(event, ev.AddressAssigned)
    assert event.cooling == ()


@pytest.mark.parametrize("block_owner", ["host", "tenant", "segment"])
def test_node_that_returns_soon_keeps_its_block(block_owner: str) -> None:
    """It and its pods were gone by mistake: for others the block cools, not for a pod that lives there."""
    c = cluster(block_owner=block_owner, cooldown=30_000_000)
    c.pod("web/a", "n1")
    c.decide()
    c.no_pod("web/a")
    c.no_node("n1")
    c.decide()
    c.later(1)
    c.node("n1")
    c.pod("web/a", "n1", uid="2", ips=("10.0.0.0",))
    c.decide()
    assert c.blocks()["10.0.0.0/30"] == "n1"
    (owned,) = (event for event in c.newest(ev.BlockAssigned) if event.block == "10.0.0.0/30")
    whose = {"host": ("*", "*"), "tenant": ("web", "*"), "segment": ("web", "")}
    assert (owned.tenant, owned.segment) == whose[block_owner]


@pytest.mark.parametrize("spare", [True, False])
def test_warm_block_of_another_node_is_released_for_a_running_pod(spare: bool) -> None:
    c = cluster(warm_blocks=1)
    c.node("n2")
    c.decide()
    if not spare:
        c.pod("web/b", "n2")
        c.decide()
    assert c.blocks()["10.0.0.4/30"] == "n2"
    c.pod("web/a", "n1", ips=("10.0.0.6",))
    c.decide()
    assert c.addresses()["web/a"] == ("10.0.0.6" if spare else "10.0.0.0")


def test_reserved_address_is_adopted_from_a_running_pod() -> None:
    c = cluster()
    c.send(ev.RangeReserved(cidr="10.0.0.0/29"))
    c.pod("web/a", "n1", ips=("10.0.0.5",))
    c.pod("web/b", "n1")
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.5", "web/b": "10.0.0.8"}


def test_one_family_may_be_known_and_the_other_not() -> None:
    document = {
        "networks": [{"name": "four", "cidr": "10.0.0.0/24"}, {"name": "six", "cidr": "fd00::/120"}],
        "topologies": [{"networks": ["four", "six"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.pod("web/b", "n1", ips=("fd00::",))
    c.pod("web/c", "n1", ips=("10.0.0.0", "fd00::1"))
    c.decide()
    assert c.addresses() == {
        "web/a": "10.0.0.2 fd00::2",
        "web/b": "10.0.0.1 fd00::",
        "web/c": "10.0.0.0 fd00::1",
    }


def test_lost_store_is_rebuilt_from_running_pods() -> None:
    """Groups, places and addresses come back, though zones and nodes had come in another order. What
    nobody reports (spares, what cools) does not."""
    c = Cluster()
    for at, zone in enumerate("cab"):
        for node in (f"n{at}", f"n{at + 5}"):
            c.node(node, {ZONE: zone})
        c.decide()
    for at in range(30):
        c.pod(f"web/{at}", f"n{at % 3 + 5 * (at % 2)}")
    c.decide()
    for key, address in c.addresses().items():
        c.pod(key, ips=(address,), node=f"n{int(key[4:]) % 3 + 5 * (int(key[4:]) % 2)}")

    lost = Cluster(synced=False)
    lost.send(*(stored.event for stored in c.table.values() if stored.role == ev.KUBE))
    lost.decide()
    assert lost.addresses() == c.addresses()
    assert {p.node: p.placements for p in lost.newest(ev.HostPlaced)} == {
        p.node: p.placements for p in c.newest(ev.HostPlaced)
    }


def test_a_group_is_chosen_by_what_runs_on_the_node_if_its_labels_admit_that() -> None:
    four = [{"name": name} for name in "abc"] + [{"name": "d", "assignment": {"x": "y"}}]
    c = Cluster(topology("10.0.0.0/24", 30, *four), warm_blocks=0)
    c.node("n1")
    c.node("n2")
    c.pod("web/a", "n1", ips=("10.0.0.130",))
    c.pod("web/b", "n2", ips=("10.0.0.200",))
    assert c.says() == [
        "n1 is in net c 10.0.0.128/26",
        "n2 is in net a 10.0.0.0/26",
        "10.0.0.128/30 to n1",
        "web/a on n1: 10.0.0.130",
        "10.0.0.0/30 to n2",
        "web/b on n2: 10.0.0.0",
    ]
