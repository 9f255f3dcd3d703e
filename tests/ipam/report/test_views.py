"""The state as people see it."""

from __future__ import annotations

import msgspec
import pytest

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from romana_bus.ipam.model.usage import Usage
from romana_bus.ipam.report import lookup, views
from tests.ipam.cluster import Cluster, topology


def cluster() -> Cluster:
    """Two groups and padding; a node in each; pods that run, cool, and wait."""
    document = topology(
        "10.0.0.0/27", 30,
        {"name": "a", "assignment": {"rack": "a"}, "routing": "bgp"},
        {"name": "b", "assignment": {"rack": "b"}, "groups": [{"name": "b1"}, {"name": "b2"}]},
        {"name": "c", "assignment": {"rack": "c"}},
    )  # fmt: skip
    c = Cluster(document)
    c.node("n1", {"rack": "a"})
    c.node("n2", {"rack": "b"})
    c.node("n3", {"rack": "x"})
    c.send(ev.RangeReserved(cidr="10.0.0.1/32"), ev.RangeReserved(cidr="10.0.0.28/30"))
    for name in "abc":
        c.pod(f"web/{name}", "n1")
    c.pod("web/lost", "n3")
    c.decide()
    c.no_pod("web/b")
    c.decide()
    return c


def test_networks_and_groups() -> None:
    (network,) = views.networks(cluster().state)
    assert (network.network, network.prefix, network.block_mask, network.hosts) == (
        "net",
        "10.0.0.0/27",
        30,
        2,
    )
    assert network.usage == Usage(size=32, used=2, cooling=1, reserved=5, free=24, blocks=3)
    rows = [
        (g.group, g.prefix, g.leaf, g.closed, g.hosts, g.usage.used, g.usage.blocks) for g in network.groups
    ]
    assert rows == [
        ("/", "10.0.0.0/27", False, False, 2, 2, 3),
        ("a", "10.0.0.0/29", True, False, 1, 2, 2),
        ("b", "10.0.0.8/29", False, False, 1, 0, 1),
        ("b/b1", "10.0.0.8/30", True, False, 1, 0, 1),
        ("b/b2", "10.0.0.12/30", True, False, 0, 0, 0),
        ("c", "10.0.0.16/29", True, False, 0, 0, 0),
        ("3", "10.0.0.24/29", False, True, 0, 0, 0),
    ]
    assert (network.groups[1].needs, network.groups[1].routing) == ({"rack": "a"}, "bgp")
    assert msgspec.json.encode(network)


def test_hosts() -> None:
    first, second, third = views.hosts(cluster().state)
    assert (first.node, first.groups, first.pods, first.waiting) == ("n1", {"net": "a"}, 2, 0)
    assert first.usage == Usage(size=8, used=2, cooling=1, reserved=1, free=4, blocks=2)
    assert [block.block for block in second.blocks] == ["10.0.0.8/30"]
    assert (third.groups, third.waiting) == ({}, 1)
    assert third.denied == "network net needs the label rack=a or rack=b or rack=c"
    assert views.host(cluster().state, "n1") == first
    assert views.host(cluster().state, "n9") is None


def test_blocks() -> None:
    rows = [(b.block, b.node, b.network, b.tenant, b.usage.used) for b in views.blocks(cluster().state)]
    assert rows == [
        ("10.0.0.0/30", "n1", "net", "*", 2),
        ("10.0.0.4/30", "n1", "net", "*", 0),
        ("10.0.0.8/30", "n2", "net", "*", 0),
    ]


def test_a_pod() -> None:
    c = cluster()
    (pod,) = views.pod(c.state, "web", "a")
    assert (pod.node, pod.addresses, pod.code) == ("n1", ("10.0.0.0",), "")
    (cooling,) = views.pod(c.state, "web", "b")
    assert (cooling.addresses, cooling.cooling) == ((), {"10.0.0.2": c.state.now + 30 * SECOND})
    (waiting,) = views.pod(c.state, "web", "lost")
    assert waiting.code == "host_denied"
    assert views.pod(c.state, "web", "nobody") == ()


@pytest.mark.parametrize(
    ("text", "name"), [("10.0.0.0", "a"), ("10.0.0.2", "b"), ("10.0.0.9", ""), ("::1", "")]
)
def test_owner_of_an_address(text: str, name: str) -> None:
    found = lookup.address(cluster().state, text)
    assert found.pod == (f"web/{name}" if name else "")


def test_invalid_address_is_refused() -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        lookup.address(cluster().state, "nonsense")


def test_groups_that_a_node_with_other_labels_does_not_match() -> None:
    state = cluster().state
    assert views.misplaced(state, "n1", {"rack": "a", "more": "labels"}) == ()
    assert [leaf.group for leaf in views.misplaced(state, "n1", {"rack": "b"})] == ["a"]
    assert views.misplaced(state, "n9", {}) == ()


def test_a_block_larger_than_the_groups_of_a_later_topology() -> None:
    c = Cluster(topology("10.0.0.0/28", 28), warm_blocks=0)
    c.node("n1")
    for at in range(5):
        c.pod(f"web/{at}", "n1")
    c.decide()
    c.send(ev.TopologySet(document=topology("10.0.0.0/28", 30, {"name": "a"}, {"name": "b"})))
    c.decide()
    (network,) = views.networks(c.state)
    assert [(g.usage.used, g.usage.free, g.usage.blocks) for g in network.groups] == [
        (5, 11, 1),
        (5, 3, 1),
        (0, 8, 1),
    ]
