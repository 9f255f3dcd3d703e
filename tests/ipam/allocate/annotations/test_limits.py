"""The limits of fixed and sticky addresses: a tenant that requests too many is denied, and nobody else is."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from tests.ipam import invariants
from tests.ipam.allocate.annotations.annotated import (
    ADDRESS,
    NETWORK,
    STICKY,
    cluster,
    racks,
    request,
    retained,
    single_blocks,
    why,
)
from tests.ipam.cluster import Cluster

HOUR = 3600 * SECOND
#: The reason where the namespace web has as many as it may have.
AT_MOST = (
    "namespace web has all of the {} fixed and sticky addresses that it may have in network net, with those "
    "kept for pods that are gone: remove one, or raise wishes.max_per_namespace"
)


def retentions(c: Cluster) -> dict[str, int]:
    """For how long the address of each running pod is kept when the pod is gone: µs."""
    return {event.name: event.retention for event in c.newest(ev.AddressAssigned)}


# --- who may ----------------------------------------------------------------------------------------------


def test_namespaces_that_are_not_named_are_denied_until_they_are() -> None:
    c = cluster({"fixed": ["db"], "sticky": []})
    assert request(c, "db/a", "n1", address="10.0.0.9")[-1] == "db/a on n1: 10.0.0.9"
    assert request(c, "web/a", "n1", address="10.0.0.8") == ["web/a on n1: wish_limit"]
    assert why(c, "web/a") == (
        "network net has no fixed addresses for namespace web: remove the annotation, or add the namespace "
        "to wishes.fixed of the network"
    )
    assert request(c, "db/b", "n1", sticky="10m") == ["db/b on n1: wish_limit"]
    assert request(c, "db/c", "n1", sticky="10m", address="10.0.0.10") == ["db/c on n1: wish_limit"]
    assert request(c, "web/d", "n1", network="net")[-1] == "web/d on n1: 10.0.0.0"
    c.send(ev.TopologySet(document=racks(fixed=["db", "web"], sticky=["*"])))
    c.decide()
    assert c.denied() == {}
    assert (c.addresses()["web/a"], c.addresses()["db/c"]) == ("10.0.0.8", "10.0.0.10")


def test_a_sticky_pod_gets_an_address_of_the_network_that_allows_it() -> None:
    document = {
        "networks": [
            {"name": "red", "cidr": "10.0.0.0/24", "wishes": {"sticky": []}},
            {"name": "blue", "cidr": "10.1.0.0/24", "wishes": {"max_per_namespace": 1}},
        ],
        "topologies": [{"networks": ["red", "blue"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    assert request(c, "web/a", "n1", sticky="10m")[-1] == "web/a on n1: 10.1.0.0"
    assert request(c, "web/b", "n1", sticky="10m")[-1] == "web/b on n1: 10.1.0.8"
    assert retentions(c) == {"a": 600 * SECOND, "b": 0}
    assert request(c, "web/c", "n1")[-1] == "web/c on n1: 10.0.0.0"


def test_the_other_family_of_a_fixed_address_does_not_count() -> None:
    document = {
        "networks": [
            {"name": "v4", "cidr": "10.0.0.0/24"},
            {"name": "v6", "cidr": "fd00::/112", "wishes": {"fixed": [], "max_per_namespace": 0}},
        ],
        "topologies": [{"networks": ["v4", "v6"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    assert request(c, "web/a", "n1", address="10.0.0.9")[-1] == "web/a on n1: 10.0.0.9 fd00::"
    assert request(c, "web/b", "n1", address="fd00::9") == ["web/b on n1: wish_limit"]


# --- how many ---------------------------------------------------------------------------------------------


def test_a_namespace_has_so_many_and_the_next_pod_gets_one_when_one_is_gone() -> None:
    c = cluster({"max_per_namespace": 2})
    request(c, "web/a", "n1", address="10.0.0.0")
    request(c, "web/b", "n1", sticky="true")
    request(c, "web/c", "n2", address="10.0.0.2")
    assert why(c, "web/c") == AT_MOST.format(2)
    c.no_pod("web/b")  # its address is kept, and counts
    c.decide()
    assert set(c.denied()) == {"web/c"}
    c.no_pod("web/a")
    assert c.says()[1:] == ["10.0.0.2/32 to n2 for web pod:c", "web/c on n2: 10.0.0.2"]


def test_a_sticky_pod_over_the_limit_gets_an_address_that_is_not_kept() -> None:
    c = cluster({"max_per_namespace": 1})
    request(c, "web/a", "n1", sticky="true")
    assert request(c, "web/b", "n1", sticky="true") == ["10.0.0.4/30 to n1", "web/b on n1: 10.0.0.4"]
    (event,) = (event for event in c.newest(ev.AddressAssigned) if event.name == "b")
    assert (event.retention, event.requested_retention, event.reason) == (0, HOUR, AT_MOST.format(1))
    assert "10.0.0.1/32 to n1 for db pod:a" in request(c, "db/a", "n1", sticky="true")
    c.no_pod("web/a")
    c.no_pod("web/b")
    c.decide()
    assert [one.address for one in retained(c)] == ["10.0.0.0"]
    assert request(c, "web/b", "n2", sticky="true", uid="2")[-1] != "web/b on n2: 10.0.0.4"
    c.later(3600)
    c.decide()
    assert request(c, "web/b", "n2", sticky="true", uid="3")[-1].startswith("web/b on n2: ")
    assert retentions(c)["b"] == HOUR


def test_a_successor_on_the_same_node_is_sticky_however_many_its_namespace_has() -> None:
    c = cluster()
    for name in "ab":
        request(c, f"web/{name}", "n1", sticky="true")
    c.send(ev.TopologySet(document=racks(max_per_namespace=1)))
    c.no_pod("web/b")
    c.decide()
    assert request(c, "web/b", "n1", sticky="true", uid="2")[-1] == "web/b on n1: 10.0.0.1"
    assert retentions(c) == {"a": HOUR, "b": HOUR}


def test_another_segment_does_not_make_a_pod_over_the_limit_sticky() -> None:
    c = cluster({"max_per_namespace": 1})
    for name in "ab":
        request(c, f"web/{name}", "n1", sticky="true")
    for name in "ab":
        c.pod(f"web/{name}", "n1", annotations={STICKY: "true"}, segment="front")
    c.decide()
    assert {event.segment for event in c.newest(ev.AddressAssigned)} == {"front"}
    assert retentions(c) == {"a": HOUR, "b": 0}


def test_a_pod_over_the_limit_in_one_family_breaks_up_no_block_in_the_other() -> None:
    document = {
        "networks": [
            {"name": "v4", "cidr": "10.0.0.0/24"},
            {"name": "v6", "cidr": "fd00::/112", "wishes": {"max_per_namespace": 0}},
        ],
        "topologies": [{"networks": ["v4", "v6"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    assert request(c, "web/a", "n1", sticky="true")[-1] == "web/a on n1: 10.0.0.0 fd00::"
    assert single_blocks(c) == []
    assert retentions(c) == {"a": 0}


def test_a_sticky_pod_that_finds_no_address_gets_one_when_its_namespace_may_have_more() -> None:
    """An address of a block that is broken up already, while no whole block is free."""
    c = cluster({"max_per_namespace": 1}, cooldown=0)
    request(c, "web/a", "n1", sticky="10s")
    for number in range(60):
        c.pod(f"db/{number:02}", "n1")
    c.decide()
    assert request(c, "web/b", "n1", sticky="10s") == ["web/b on n1: exhausted"]
    c.no_pod("web/a")
    c.decide()
    c.later(10)
    assert "web/b on n1: 10.0.0.1" in c.says()


def test_the_pod_that_an_address_is_kept_for_gets_it_however_many_its_namespace_has() -> None:
    c = cluster()
    for name in "abc":
        request(c, f"web/{name}", "n1", sticky="true")
    c.send(ev.TopologySet(document=racks(max_per_namespace=1)))
    assert [say for say in c.says() if "released" in say] == []  # who runs keeps what it has
    c.pod("web/d", "n1", annotations={ADDRESS: "10.0.0.3"})
    assert c.says() == ["web/d on n1: wish_limit"]
    c.no_pod("web/b")
    c.decide()
    assert request(c, "web/b", "n2", sticky="true", uid="2")[-1] == "web/b on n2: 10.0.0.1"
    assert retentions(c) == {"a": HOUR, "b": HOUR, "c": HOUR}


def test_of_those_decided_together_the_first_by_name_gets_it() -> None:
    c = cluster({"max_per_namespace": 1})
    for name, node, address in (("c", "n1", 0), ("b", "n2", 1), ("a", "n1", 2)):
        c.pod(f"web/{name}", node, annotations={ADDRESS: f"10.0.0.{address}"})
    c.decide()
    assert (list(c.addresses()), sorted(c.denied())) == (["web/a"], ["web/b", "web/c"])
    c.no_pod("web/a")
    c.decide()
    assert list(c.addresses()) == ["web/b"]


def test_limits_are_those_of_each_network() -> None:
    document = racks(max_per_namespace=1)
    document["networks"].append({"name": "blue", "cidr": "10.9.0.0/24"})
    document["topologies"].append({"networks": ["blue"], "map": [{"groups": []}]})
    c = Cluster(document, warm_blocks=0)
    c.node("n1", {"rack": "a"})
    request(c, "web/a", "n1", address="10.0.0.0")
    c.pod("web/b", "n1", annotations={ADDRESS: "10.9.0.1", NETWORK: "blue"})
    assert c.says()[-1] == "web/b on n1: 10.9.0.1"
    assert request(c, "web/c", "n1", address="10.0.0.1") == ["web/c on n1: wish_limit"]


# --- how long ---------------------------------------------------------------------------------------------


def test_a_retention_that_is_too_long_is_shortened_and_the_event_says_so() -> None:
    c = cluster()
    request(c, "db/a", "n1", sticky="365d")
    (event,) = c.newest(ev.AddressAssigned)
    assert (event.retention, event.requested_retention) == (HOUR, 365 * 24 * HOUR)
    assert event.reason == (
        "network net keeps addresses for 1h at most: request less, or raise wishes.max_retention"
    )
    request(c, "db/a", "n1", sticky="30m", uid="2")
    (event,) = c.newest(ev.AddressAssigned)
    assert (event.retention, event.requested_retention, event.reason) == (HOUR // 2, 0, "")


def test_a_retention_is_never_shorter_than_the_cooldown() -> None:
    c = cluster({"max_retention": "1s"})
    request(c, "db/a", "n1", sticky="true")
    c.no_pod("db/a")
    c.decide()
    c.later(10)
    c = c.rebuilt()
    assert c.says() == []
    c.later(19)
    assert c.says() == []
    c.later(1)
    assert c.says() == ["10.0.0.0/32 from n1"]


def test_a_network_that_retains_nothing_opens_no_block_for_a_sticky_address() -> None:
    c = cluster({"max_retention": "0s"})
    assert request(c, "db/a", "n1", sticky="true") == ["10.0.0.0/30 to n1", "db/a on n1: 10.0.0.0"]


def test_each_network_limits_the_retention_of_its_own_address() -> None:
    document = {
        "networks": [
            {"name": "v4", "cidr": "10.0.0.0/24", "wishes": {"max_retention": "60s"}},
            {"name": "v6", "cidr": "fd00::/112", "wishes": {"max_retention": "10m"}},
        ],
        "topologies": [{"networks": ["v4", "v6"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    request(c, "web/a", "n1", sticky="true")
    c.no_pod("web/a")
    c.decide()
    times = {one.address: (one.until - c.state.now) // SECOND for one in retained(c)}
    assert times == {"10.0.0.0": 60, "fd00::": 600}


@pytest.mark.parametrize("running", [False, True])
def test_a_topology_with_a_shorter_retention_shortens_what_is_kept(running: bool) -> None:
    """Also what is kept beside another address that the pod of that name has by now."""
    c = cluster()
    request(c, "db/a", "n1", sticky="true")
    c.no_pod("db/a")
    c.decide()
    if running:
        c.pod("db/a", "n1", uid="2")
        c.decide()
    c.send(ev.TopologySet(document=racks(max_retention="60s")))
    c.decide()
    (cooling,) = invariants.cooling_addresses(c)
    assert (cooling.kept, cooling.until) == (True, c.state.now + 60 * SECOND)
    assert ("db/a" in c.addresses()) == running
    assert c.rebuilt().says() == []
    c.later(60)
    assert c.says() == ["10.0.0.0/32 from n1"]


def test_a_running_pod_keeps_its_address_and_its_retention_is_shortened_at_its_end() -> None:
    c = cluster()
    request(c, "db/a", "n1", sticky="true")
    c.send(ev.TopologySet(document=racks(max_retention="60s", sticky=[])))
    assert c.says() == []
    c.no_pod("db/a")
    c.decide()
    assert [one.until for one in retained(c)] == [c.state.now + 60 * SECOND]


# --- how many blocks ----------------------------------------------------------------------------------------


def test_fixed_addresses_break_up_a_tenth_of_the_blocks_of_a_group() -> None:
    c = cluster()
    request(c, "web/a", "n1", address="10.0.0.8")
    assert request(c, "db/a", "n1", address="10.0.0.12") == ["db/a on n1: wish_limit"]
    assert why(c, "db/a") == (
        "10.0.0.12 would break up one more block of group a, 10.0.0.0/26, and fixed and sticky addresses may "
        "break up 10% of its blocks: request an address in a block that is broken up already, or raise "
        "wishes.max_broken_blocks"
    )
    assert request(c, "db/b", "n2", address="10.0.0.9")[-1] == "db/b on n2: 10.0.0.9"
    assert request(c, "db/c", "n3", address="10.0.0.70")[-1] == "db/c on n3: 10.0.0.70"
    c.no_pod("web/a")
    c.no_pod("db/b")
    c.decide()
    c.later(30)
    assert c.says()[-1] == "db/a on n1: 10.0.0.12"


def test_a_fixed_address_in_a_block_of_the_node_breaks_up_none() -> None:
    c = cluster({"max_broken_blocks": "0%"})
    c.pod("web/a", "n1")
    c.decide()
    assert request(c, "web/b", "n1", address="10.0.0.2") == ["web/b on n1: 10.0.0.2"]
    assert request(c, "web/c", "n1", address="10.0.0.9") == ["web/c on n1: wish_limit"]
    for name in "def":
        c.pod(f"web/{name}", "n1")
    c.decide()
    assert "10.0.0.4/30" in c.blocks()
    assert request(c, "web/g", "n1", address="10.0.0.7") == ["web/g on n1: 10.0.0.7"]


def test_a_denied_fixed_address_is_assigned_when_the_node_gets_its_block() -> None:
    c = cluster({"max_broken_blocks": "0%"})
    assert request(c, "web/c", "n1", address="10.0.0.3") == ["web/c on n1: wish_limit"]
    c.pod("web/a", "n1")
    assert c.says() == ["10.0.0.0/30 to n1", "web/a on n1: 10.0.0.0", "web/c on n1: 10.0.0.3"]


def test_sticky_addresses_fill_broken_blocks_first_and_then_come_from_those_of_the_node() -> None:
    c = cluster()
    request(c, "web/a", "n1", address="10.0.0.8")
    given = [request(c, f"web/{name}", "n1", sticky="true")[-1].rpartition(" ")[2] for name in "bcdef"]
    assert given == ["10.0.0.9", "10.0.0.10", "10.0.0.11", "10.0.0.0", "10.0.0.1"]
    assert "10.0.0.0/30" in c.blocks()


def test_a_pod_that_runs_with_its_fixed_address_keeps_it_over_every_limit() -> None:
    """After the store was lost, say."""
    c = cluster({"fixed": [], "max_per_namespace": 0, "max_broken_blocks": "0%"})
    c.pod("web/a", "n1", annotations={ADDRESS: "10.0.0.9"}, ips=("10.0.0.9",))
    assert c.says()[-1] == "web/a on n1: 10.0.0.9"
