"""Pods that were gone by mistake, or whose address the log gave away: who runs with an address has it."""

from __future__ import annotations

from typing import Any

from romana_bus import events as ev
from tests.ipam.cluster import Cluster, topology


def cluster(*pods: str, **settings: Any) -> Cluster:
    c = Cluster(topology("10.0.0.0/27", 30), **{"warm_blocks": 0, **settings})
    c.node("n1")
    for key in pods:
        c.pod(key, "n1")
    c.decide()
    return c


def replaced(c: Cluster, key: str) -> None:
    """It is gone, and its address cools."""
    c.no_pod(key)
    assert c.says() == [f"{key} on n1: released, the pod is gone"]


def test_returning_pod_gets_its_address_again() -> None:
    c = cluster("web/a", "web/b")
    replaced(c, "web/b")
    replaced(c, "web/a")
    for other in (c, c.rebuilt()):
        other.pod("web/b", "n1")
        assert other.says() == ["web/b on n1: 10.0.0.1"]
        other.pod("web/a", "n1")
        assert other.says() == ["web/a on n1: 10.0.0.0"]
        event = other.table["ipam.address.n1.web.a"].event
        assert isinstance(event, ev.AddressAssigned)
        assert event.cooling == ()


def test_other_pod_of_the_name_waits_for_the_cooldown() -> None:
    c = cluster("web/a")
    replaced(c, "web/a")
    c.pod("web/a", "n1", uid="another")
    assert c.says() == ["web/a on n1: 10.0.0.1"]


def test_address_released_by_an_operator_does_not_return() -> None:
    """It is over also for this very pod."""
    c = cluster("web/a")
    c.send(
        ev.AddressDisowned(
            namespace="web", name="a", uid="uid-web/a", node="n1", addresses=("10.0.0.0",), reason="an audit"
        )
    )
    for other in (c, c.rebuilt()):
        assert other.says() == ["web/a on n1: released, an audit", "web/a on n1: 10.0.0.1"]


def test_last_of_several_cooling_addresses_returns() -> None:
    c = cluster("web/a")
    replaced(c, "web/a")
    c.later(1)
    c.pod("web/a", "n1", uid="second")
    assert c.says() == ["web/a on n1: 10.0.0.1"]
    c.send(ev.PodGone(resource_version=c.version(), uid="second", namespace="web", name="a"))
    c.decide()
    c.pod("web/a", "n1", uid="second")
    assert c.says() == ["web/a on n1: 10.0.0.1"], "the second pod has had only that"


def test_on_another_node_it_is_another_address() -> None:
    c = cluster("web/a")
    replaced(c, "web/a")
    c.node("n2")
    c.decide()
    c.pod("web/a", "n2")
    assert c.says() == ["10.0.0.4/30 to n2", "web/a on n2: 10.0.0.4"]


# --- what a pod reports ---------------------------------------------------------------------------------


def test_pod_running_with_a_cooling_address_of_another_gets_it() -> None:
    c = cluster("web/a")
    replaced(c, "web/a")
    for other in (c, c.rebuilt()):
        other.pod("web/b", "n1", ips=("10.0.0.0",))
        assert other.says() == ["web/b on n1: 10.0.0.0"]


def test_cooling_address_is_not_adopted_while_its_old_pod_may_use_it() -> None:
    c = cluster("web/a")
    c.send(
        ev.AddressDisowned(
            namespace="web", name="a", uid="uid-web/a", node="n1", addresses=("10.0.0.0",), reason="an audit"
        )
    )
    c.decide()
    c.pod("web/b", "n1", ips=("10.0.0.0",))
    assert c.says() == ["web/b on n1: 10.0.0.2"]


def test_pod_running_with_an_address_of_an_empty_block_of_another_node_gets_it() -> None:
    """The block becomes its node's."""
    c = cluster("web/a", warm_blocks=1)
    c.node("n2")
    c.decide()
    assert c.blocks() == {"10.0.0.0/30": "n1", "10.0.0.4/30": "n1", "10.0.0.8/30": "n2"}
    for other in (c, c.rebuilt()):
        other.pod("web/b", "n1", ips=("10.0.0.9",))
        assert other.says() == [
            "10.0.0.8/30 from n2",
            "10.0.0.8/30 to n1",
            "web/b on n1: 10.0.0.9",
            "10.0.0.12/30 to n2",
        ]


def test_address_of_a_used_or_cooling_block_of_another_node_is_not_adopted() -> None:
    c = cluster("web/a")
    replaced(c, "web/a")
    c.node("n2")
    c.decide()
    c.pod("web/b", "n2", ips=("10.0.0.1",))
    assert c.says() == ["10.0.0.4/30 to n2", "web/b on n2: 10.0.0.4"]
