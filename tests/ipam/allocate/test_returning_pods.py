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


def test_the_very_pod_that_comes_back_has_its_address_again() -> None:
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


def test_another_pod_of_its_name_waits_for_the_cooldown_as_anybody() -> None:
    c = cluster("web/a")
    replaced(c, "web/a")
    c.pod("web/a", "n1", uid="another")
    assert c.says() == ["web/a on n1: 10.0.0.1"]


def test_not_one_that_an_operator_has_ended() -> None:
    """It is over also for this very pod."""
    c = cluster("web/a")
    c.send(
        ev.AddressDisowned(
            namespace="web", name="a", uid="uid-web/a", node="n1", addresses=("10.0.0.0",), reason="an audit"
        )
    )
    for other in (c, c.rebuilt()):
        assert other.says() == ["web/a on n1: released, an audit", "web/a on n1: 10.0.0.1"]


def test_of_several_that_cool_the_last_one_that_it_had() -> None:
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


def test_who_runs_with_an_address_that_cools_from_another_has_it() -> None:
    c = cluster("web/a")
    replaced(c, "web/a")
    for other in (c, c.rebuilt()):
        other.pod("web/b", "n1", ips=("10.0.0.0",))
        assert other.says() == ["web/b on n1: 10.0.0.0"]


def test_not_while_the_one_that_lost_it_may_run_with_it() -> None:
    c = cluster("web/a")
    c.send(
        ev.AddressDisowned(
            namespace="web", name="a", uid="uid-web/a", node="n1", addresses=("10.0.0.0",), reason="an audit"
        )
    )
    c.decide()
    c.pod("web/b", "n1", ips=("10.0.0.0",))
    assert c.says() == ["web/b on n1: 10.0.0.2"]


def test_who_runs_with_an_address_of_a_block_that_another_node_has_empty_has_it() -> None:
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


def test_not_of_a_block_in_which_somebody_is_or_cools() -> None:
    c = cluster("web/a")
    replaced(c, "web/a")
    c.node("n2")
    c.decide()
    c.pod("web/b", "n2", ips=("10.0.0.1",))
    assert c.says() == ["10.0.0.4/30 to n2", "web/b on n2: 10.0.0.4"]
