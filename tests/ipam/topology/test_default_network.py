"""The default network, with a group for each zone, where no topology is set."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.ipam import Settings
from tests.ipam.cluster import Cluster, topology
from tests.ipam.placements import ZONE


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


def test_node_that_loses_its_zone_label_changes_nothing() -> None:
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


def test_zone_keeps_its_slot_under_another_label() -> None:
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


def test_ninth_zone_is_denied_with_a_hint_to_set_a_topology() -> None:
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
def test_invalid_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_block_mask", "_network")):
        Settings(**wrong)  # type: ignore[arg-type]
