"""Pods without an address: denied once, with the reason, and served as soon as that has changed."""

from __future__ import annotations

from typing import Any

import pytest

from romana_bus import events as ev
from tests.ipam.cluster import Cluster, topology


def cluster(**settings: Any) -> Cluster:
    """One host in a group of two blocks of two, and four pods that fill it."""
    c = Cluster(topology("10.0.0.0/30", 31), **{"warm_blocks": 0, "cooldown": 0, **settings})
    c.node("n1")
    for name in "abcd":
        c.pod(f"web/{name}", "n1")
    c.decide()
    return c


def reason(c: Cluster, subject: str) -> tuple[str, str]:
    event = c.table[f"ipam.address.{subject}"].event
    assert isinstance(event, ev.AddressDenied)
    return event.code, event.reason


def test_the_node_is_not_there() -> None:
    c = Cluster(topology(), warm_blocks=0)
    c.pod("web/a", "n1")
    assert c.says() == ["web/a on n1: host_unknown"]
    assert reason(c, "n1.web.a") == ("host_unknown", "node n1 is not in the API")
    c.node("n1")
    assert c.says()[-1] == "web/a on n1: 10.0.0.0"


def test_the_node_is_in_no_group() -> None:
    c = Cluster(topology("10.0.0.0/24", 30, {"assignment": {"rack": "a"}}), warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    text = "node n1 is in no group: network net needs the label rack=a"
    assert reason(c, "n1.web.a") == ("host_denied", text)
    c.node("n1", {"rack": "a"})
    assert c.says()[-1] == "web/a on n1: 10.0.0.0"


def test_the_node_is_in_no_group_of_the_tenants_networks() -> None:
    document = {
        "networks": [
            {"name": "x", "cidr": "10.0.0.0/24", "tenants": ["web"]},
            {"name": "y", "cidr": "10.1.0.0/24", "tenants": ["db"]},
        ],
        "topologies": [
            {"networks": ["x"], "map": [{"assignment": {"rack": "a"}}]},
            {"networks": ["y"], "map": [{"assignment": {"rack": "b"}}]},
        ],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1", {"rack": "a"})
    c.pod("db/a", "n1")
    c.decide()
    assert reason(c, "n1.db.a") == (
        "host_denied",
        "node n1 is in no group of the networks that tenant db may use: y",
    )


def test_no_network_is_for_the_tenant() -> None:
    document = topology()
    document["networks"][0]["tenants"] = ["db"]
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    assert reason(c, "n1.web.a") == ("no_network", "no network is for tenant web, and none is for everyone")
    c.send(ev.TopologySet(document=topology()))
    assert c.says()[-1] == "web/a on n1: 10.0.0.0"


def test_everything_is_in_use() -> None:
    c = cluster()
    c.pod("web/e", "n1")
    assert c.says() == ["web/e on n1: exhausted"]
    assert reason(c, "n1.web.e") == ("exhausted", "full: network net, group all, 10.0.0.0/30")


def test_denial_is_published_once() -> None:
    c = cluster()
    c.pod("web/e", "n1")
    c.decide()
    c.pod("web/e", "n1", phase="Pending")
    assert c.says() == []
    c.pod("web/e", "n1", uid="another pod")
    assert c.says() == ["web/e on n1: exhausted"]


def test_a_pod_that_waits_no_longer_is_forgotten() -> None:
    c = cluster()
    c.pod("web/e", "n1")
    c.decide()
    c.no_pod("web/e")
    assert c.says() == ["web/e on n1: released, the pod is gone"]
    assert c.denied() == {}


def test_order_of_waiting_pods_does_not_depend_on_waiting_time() -> None:
    c = cluster()
    c.pod("web/z", "n1")
    c.decide()
    c.pod("web/y", "n1")
    c.decide()
    c.no_pod("web/b")
    assert c.says() == ["web/b on n1: released, the pod is gone", "web/y on n1: 10.0.0.1"]


def address_is_given_back(c: Cluster) -> None:
    c.no_pod("web/a")


def reserve_is_lifted(c: Cluster) -> None:
    c.send(ev.RangeUnreserved(cidr="10.0.0.0/32"))


def another_host_gives_a_block_back(c: Cluster) -> None:
    c.no_pod("web/c")
    c.no_pod("web/d")


def another_host_goes(c: Cluster) -> None:
    c.no_node("n1")
    for name in "abcd":
        c.no_pod(f"web/{name}")


def topology_grows(c: Cluster) -> None:
    c.send(ev.TopologySet(document=topology("10.0.0.0/29", 31)))


def topology_gains_a_network(c: Cluster) -> None:
    document = topology("10.0.0.0/30", 31)
    document["networks"].append({"name": "more", "cidr": "10.9.0.0/24"})
    document["topologies"][0]["networks"].append("more")
    c.send(ev.TopologySet(document=document))


@pytest.mark.parametrize(
    ("node", "relief"),
    [
        ("n1", address_is_given_back),
        ("n1", topology_grows),
        ("n1", topology_gains_a_network),
        ("n2", another_host_gives_a_block_back),
        ("n2", another_host_goes),
        ("n2", topology_grows),
    ],
)
def test_waiting_pod_is_served_when_an_address_is_released(node: str, relief: Any) -> None:
    c = cluster()
    c.node("n2")
    c.pod("web/z", node)
    c.decide()
    assert c.denied() == {"web/z": "exhausted"}
    relief(c)
    c.decide()
    assert "web/z" in c.addresses()


def test_a_waiting_pod_is_served_when_a_reserve_is_lifted() -> None:
    c = cluster()
    c.no_pod("web/a")
    c.send(ev.RangeReserved(cidr="10.0.0.0/32"))
    c.pod("web/z", "n1")
    c.decide()
    assert c.denied() == {"web/z": "exhausted"}
    reserve_is_lifted(c)
    assert c.says() == ["web/z on n1: 10.0.0.0"]


def test_a_waiting_pod_is_served_when_an_address_has_cooled() -> None:
    c = cluster(cooldown=30_000_000)
    c.no_pod("web/a")
    c.pod("web/z", "n1")
    c.decide()
    assert c.denied() == {"web/z": "exhausted"}
    c.later(30)
    assert c.says() == ["web/z on n1: 10.0.0.0"]


def test_denial_keeps_cooling_addresses() -> None:
    c = cluster(cooldown=30_000_000)
    c.pod("web/a", "n1", uid="2")
    assert c.says()[1] == "web/a on n1: exhausted"
    event = c.table["ipam.address.n1.web.a"].event
    assert isinstance(event, ev.AddressDenied)
    assert [cooling.address for cooling in event.cooling] == ["10.0.0.0"]


def test_without_a_pool_of_one_family_both_are_named() -> None:
    document = {
        "networks": [
            {"name": "four", "cidr": "10.0.0.0/30", "block_mask": 30},
            {"name": "six", "cidr": "fd00::/128", "block_mask": 128},
        ],
        "topologies": [{"networks": ["four", "six"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.pod("web/b", "n1")
    c.decide()
    assert reason(c, "n1.web.b") == (
        "exhausted",
        "one family or more is full: network four, group /, 10.0.0.0/30; network six, group /, fd00::/128",
    )


def test_pod_waiting_for_any_address_is_served_beside_one_waiting_for_a_fixed_one() -> None:
    c = Cluster(topology("10.0.0.0/30", 31), warm_blocks=0, cooldown=0)
    c.node("n1")
    c.node("n2")
    for name, node in (("a", "n1"), ("b", "n1"), ("c", "n2"), ("d", "n2")):
        c.pod(f"web/{name}", node)
    c.decide()
    c.pod("web/e", "n1")
    c.pod("web/w", "n2", annotations={"romana.io/address": "10.0.0.0"})
    c.decide()
    assert c.denied() == {"web/e": "exhausted", "web/w": "wish"}
    c.no_pod("web/b")
    c.no_pod("web/c")
    c.decide()
    assert c.addresses()["web/e"] == "10.0.0.1"


def test_block_that_became_warm_serves_a_pod_of_another_node() -> None:
    c = Cluster(topology("10.0.0.0/30", 30), cooldown=0)
    c.node("n1")
    c.node("n2")
    c.pod("web/a", "n1")
    c.decide()
    c.pod("web/b", "n2")
    c.decide()
    assert c.denied() == {"web/b": "exhausted"}
    c.no_pod("web/a")
    assert c.says() == [
        "web/a on n1: released, the pod is gone",
        "10.0.0.0/30 from n1",
        "10.0.0.0/30 to n2",
        "web/b on n2: 10.0.0.0",
    ]
