"""What is full: the event, the metric and the view say the same, and so they do when room has returned."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY

from romana_bus import events as ev
from romana_bus.consumers.ipam import decider
from romana_bus.consumers.ipam_metrics import measured
from romana_bus.ipam.report.exhaustion import Exhaustion, Full
from tests.ipam.cluster import Cluster, topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

RACKS = ({"name": "a", "assignment": {"rack": "a"}}, {"name": "b", "assignment": {"rack": "b"}})


def cluster(cidr: str = "10.0.0.0/29", block_mask: int = 31, **settings: Any) -> Cluster:
    """Two racks of two blocks of two, with two nodes in rack a and one in rack b."""
    c = Cluster(topology(cidr, block_mask, *RACKS), **{"warm_blocks": 0, "cooldown": 0, **settings})
    c.node("a1", {"rack": "a"})
    c.node("a2", {"rack": "a"})
    c.node("b1", {"rack": "b"})
    return c


def pods(c: Cluster, node: str, *names: str) -> None:
    for name in names:
        c.pod(f"web/{name}", node)
    c.decide()


def full(c: Cluster) -> list[tuple[str, str, int]]:
    """Scope, network or group, and who waits; as a reader of the same table finds it, too."""
    found = Exhaustion(c.state).full
    assert Exhaustion(c.rebuilt().state).full == found, "it does not depend on what was decided here"
    return [(one.scope, one.group or one.network, one.waiting) for one in found]


def reason(c: Cluster, node: str, name: str) -> str:
    event = c.table[f"ipam.address.{node}.web.{name}"].event
    assert isinstance(event, ev.AddressDenied)
    return event.reason


class Metrics:
    def exhausted(self, scope: str, group: str = "", network: str = "net") -> float | None:
        return REGISTRY.get_sample_value(
            "romana_exhausted", {"network": network, "group": group, "scope": scope}
        )

    def denied(self, scope: str) -> float | None:
        return REGISTRY.get_sample_value("romana_addresses_denied", {"code": "exhausted", "scope": scope})


@pytest.fixture
def measuring() -> Iterator[Callable[[Cluster], Metrics]]:
    open_: list[AbstractContextManager[Any]] = []

    def measure(c: Cluster) -> Metrics:
        open_.append(measured(dataclasses.replace(decider(c.settings), initial=lambda: c.state)))
        open_[-1].__enter__()
        return Metrics()

    yield measure
    for one in open_:
        one.__exit__(None, None, None)


def test_group_becomes_full_and_free_again(measuring: Callable[[Cluster], Metrics]) -> None:
    c = cluster()
    metrics = measuring(c)
    pods(c, "a1", *"pqrs")
    assert full(c) == [("group", "a", 0)]
    pods(c, "a1", "t")
    assert full(c) == [("group", "a", 1)]
    assert "network net, group a, 10.0.0.0/30" in reason(c, "a1", "t")
    assert (metrics.exhausted("group", "a"), metrics.exhausted("group", "b")) == (1, 0)
    assert (metrics.exhausted("network"), metrics.exhausted("block", "a")) == (0, 0)
    assert metrics.denied("group") == 1
    for name in "pqrs":
        c.no_pod(f"web/{name}")
    c.decide()
    assert "web/t" in c.addresses()
    assert full(c) == []
    assert (metrics.exhausted("group", "a"), metrics.denied("group")) == (0, None)


def test_network_becomes_full_and_free_again(measuring: Callable[[Cluster], Metrics]) -> None:
    c = cluster()
    metrics = measuring(c)
    pods(c, "a1", *"pqrs")
    pods(c, "b1", *"tuvwx")
    assert full(c) == [("network", "net", 1), ("group", "a", 0), ("group", "b", 1)]
    assert "network net, group b, 10.0.0.4/30" in reason(c, "b1", "x")
    assert (metrics.exhausted("network"), metrics.denied("network")) == (1, 1)
    for name in "tuvw":
        c.no_pod(f"web/{name}")
    c.decide()
    assert full(c) == [("group", "a", 0)]
    assert c.denied() == {}
    assert (metrics.exhausted("network"), metrics.denied("network")) == (0, None)


def test_node_blocks_are_full_while_blocks_of_another_node_are_not(
    measuring: Callable[[Cluster], Metrics],
) -> None:
    c = cluster()
    metrics = measuring(c)
    pods(c, "a1", *"pqr")  # both blocks, one address left
    assert full(c) == [("block", "a", 0)]
    pods(c, "a2", "s", "t")
    assert full(c) == [("block", "a", 2)]
    (found,) = Exhaustion(c.state).full
    assert found == Full(
        scope="block", network="net", group="a", prefix="10.0.0.0/30", free=1, cooling=0,
        nodes=("a2",), waiting=2,
    )  # fmt: skip
    assert "network net, group a, 10.0.0.0/30" in reason(c, "a2", "s")
    assert (metrics.exhausted("block", "a"), metrics.exhausted("group", "a")) == (1, 0)
    assert metrics.denied("block") == 2
    c.no_pod("web/r")
    c.decide()
    assert c.denied() == {}
    assert full(c) == [("group", "a", 0)]  # four pods in four addresses
    assert (metrics.exhausted("block", "a"), metrics.denied("block")) == (0, None)


def test_warm_block_of_another_node_counts_as_free(measuring: Callable[[Cluster], Metrics]) -> None:
    c = cluster(warm_blocks=1)
    metrics = measuring(c)
    pods(c, "a1", "p")
    assert sorted(c.blocks()) == ["10.0.0.0/31", "10.0.0.2/31", "10.0.0.4/31"]
    assert full(c) == []
    assert metrics.exhausted("block", "a") == 0


def test_blocks_of_other_tenants_do_not_count_as_free() -> None:
    c = cluster(block_owner="tenant")
    c.pod("web/p", "a1")
    c.pod("db/p", "a1")
    c.decide()
    assert full(c) == [("block", "a", 0)]
    c.pod("dev/p", "a1")
    c.decide()
    assert full(c) == [("block", "a", 1)]
    assert Exhaustion(c.state).full[0].nodes == ("a1", "a2")
    c.no_pod("db/p")
    c.decide()
    assert "dev/p" in c.addresses()


def test_cooling_addresses_fill_it_until_they_have_cooled() -> None:
    c = cluster(cooldown=30_000_000)
    pods(c, "a1", *"pqrs")
    c.no_pod("web/p")
    pods(c, "a1", "t")
    assert full(c) == [("group", "a", 1)]
    assert Exhaustion(c.state).full[0].cooling == 1
    c.later(30)
    assert full(c) == [("block", "a", 0)]
    c.decide()
    assert full(c) == [("group", "a", 0)]
    assert c.denied() == {}


def test_blocks_of_a_deleted_node_do_not_count_as_free_before_their_cooldown() -> None:
    c = cluster(cooldown=30_000_000)
    pods(c, "a1", *"pqrs")
    c.no_node("a1")
    c.decide()
    for name in "pqrs":
        c.no_pod(f"web/{name}")
    c.decide()
    assert full(c) == [("group", "a", 0)]
    c.later(30)
    c.decide()
    assert full(c) == []


def test_a_reserved_range_fills_it_until_it_is_lifted() -> None:
    c = cluster()
    c.send(ev.RangeReserved(cidr="10.0.0.0/30"))
    pods(c, "a1", "p")
    assert full(c) == [("group", "a", 1)]
    c.send(ev.RangeUnreserved(cidr="10.0.0.0/30"))
    c.decide()
    assert full(c) == []
    assert c.denied() == {}


def test_one_full_family_is_named_and_the_other_is_not(measuring: Callable[[Cluster], Metrics]) -> None:
    document = {
        "networks": [
            {"name": "four", "cidr": "10.0.0.0/24", "block_mask": 30},
            {"name": "six", "cidr": "fd00::/127", "block_mask": 128},
        ],
        "topologies": [{"networks": ["four", "six"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0, cooldown=0)
    metrics = measuring(c)
    c.node("n1")
    pods(c, "n1", *"pqr")
    assert full(c) == [("network", "six", 1), ("group", "/", 1)]
    assert (metrics.exhausted("network", network="six"), metrics.exhausted("network", network="four")) == (
        1,
        0,
    )
    assert metrics.denied("network") == 1
    c.no_pod("web/p")
    c.decide()
    assert full(c) == [("network", "six", 0), ("group", "/", 0)]


def test_of_several_networks_a_pod_waits_for_all_that_it_may_use() -> None:
    document = {
        "networks": [
            {"name": "own", "cidr": "10.1.0.0/31", "block_mask": 31, "tenants": ["web"]},
            {"name": "all", "cidr": "10.0.0.0/31", "block_mask": 31},
        ],
        "topologies": [{"networks": ["own", "all"], "map": [{"name": "x", "groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0, cooldown=0)
    c.node("n1")
    pods(c, "n1", *"pqrs")
    assert full(c) == [("network", "own", 0), ("group", "x", 0), ("network", "all", 0), ("group", "x", 0)]
    pods(c, "n1", "t")
    assert full(c) == [("network", "own", 1), ("group", "x", 1), ("network", "all", 1), ("group", "x", 1)]
    c.no_pod("web/p")
    c.no_pod("web/q")
    c.decide()
    assert full(c) == [("block", "x", 0), ("network", "all", 0), ("group", "x", 0)]


def test_pod_denied_for_another_reason_does_not_wait_for_free_addresses() -> None:
    c = cluster()
    c.node("lost", {"rack": "z"})
    pods(c, "a1", *"pqrs")
    pods(c, "lost", "t")
    assert c.denied() == {"web/t": "host_denied"}
    assert full(c) == [("group", "a", 0)]


def test_padding_does_not_count_as_free_and_a_network_without_groups_is_not_full() -> None:
    document = topology("10.0.0.0/29", 31, {"name": "a"}, {"name": "b"}, {"name": "c"})
    document["networks"].append({"name": "later", "cidr": "10.9.0.0/24"})
    c = Cluster(document, warm_blocks=0, cooldown=0)
    for name in "abc":
        c.node(name)
        pods(c, name, f"{name}1", f"{name}2")
    assert full(c) == [("network", "net", 0), ("group", "a", 0), ("group", "b", 0), ("group", "c", 0)]


def test_pod_does_not_wait_where_its_tenant_has_free_addresses() -> None:
    document = {
        "networks": [
            {"name": "four", "cidr": "10.0.0.0/30", "block_mask": 30},
            {"name": "six", "cidr": "fd00::/127", "block_mask": 128},
        ],
        "topologies": [{"networks": ["four", "six"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0, cooldown=0, block_owner="segment")
    c.node("n1")
    pods(c, "n1", *"pqr")
    waits = {(one.scope, one.network): one.waiting for one in Exhaustion(c.state).full}
    assert waits == {("network", "six"): 1, ("group", "six"): 1, ("block", "four"): 0}
