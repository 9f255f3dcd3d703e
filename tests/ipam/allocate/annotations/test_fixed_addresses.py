"""A fixed address: given, or denied with the reason until it is free."""

from __future__ import annotations

from romana_bus import events as ev
from tests.ipam.allocate.annotations.annotated import ADDRESS, cluster, request, why
from tests.ipam.cluster import Cluster, topology


def test_a_fixed_address_is_a_block_of_its_own() -> None:
    c = cluster()
    assert request(c, "web/a", "n1", address="10.0.0.9") == [
        "10.0.0.9/32 to n1 for web pod:a",
        "web/a on n1: 10.0.0.9",
    ]
    c.pod("web/b", "n1")
    assert c.says() == ["10.0.0.0/30 to n1", "web/b on n1: 10.0.0.0"]


def test_fixed_address_in_a_block_of_the_node_uses_that_block() -> None:
    c = cluster()
    c.pod("web/b", "n1")
    c.decide()
    assert request(c, "web/a", "n1", address="10.0.0.3") == ["web/a on n1: 10.0.0.3"]


def test_a_fixed_address_takes_the_place_of_another_nodes_spare_block() -> None:
    c = cluster(warm_blocks=1)
    assert c.blocks() == {"10.0.0.0/30": "n1", "10.0.0.4/30": "n2", "10.0.0.64/30": "n3"}
    assert request(c, "web/a", "n1", address="10.0.0.5") == [
        "10.0.0.4/30 from n2",
        "10.0.0.5/32 to n1 for web pod:a",
        "web/a on n1: 10.0.0.5",
        "10.0.0.8/30 to n2",
    ]


def test_denial_names_the_owner_and_ends_when_the_address_is_free() -> None:
    c = cluster()
    c.pod("web/b", "n1")
    c.decide()
    assert request(c, "web/a", "n1", address="10.0.0.0") == ["web/a on n1: wish"]
    assert why(c, "web/a") == "10.0.0.0 is web/b's"
    c.no_pod("web/b")
    assert c.says() == ["web/b on n1: released, the pod is gone", "web/a on n1: wish"]
    assert why(c, "web/a") == "10.0.0.0 is cooling down"
    c.later(30)
    assert c.says() == [
        "10.0.0.0/30 from n1", "10.0.0.0/32 to n1 for web pod:a", "web/a on n1: 10.0.0.0",
    ]  # fmt: skip


def test_fixed_address_in_another_nodes_block_waits_for_its_release() -> None:
    c = cluster()
    c.pod("web/b", "n2")
    c.decide()
    assert request(c, "web/a", "n1", address="10.0.0.2") == ["web/a on n1: wish"]
    assert why(c, "web/a") == "10.0.0.2 is in block 10.0.0.0/30 of node n2"
    c.no_pod("web/b")
    c.decide()
    c.later(30)
    assert c.says() == ["10.0.0.0/30 from n2", "10.0.0.2/32 to n1 for web pod:a", "web/a on n1: 10.0.0.2"]


def test_an_address_beside_a_kept_one_in_a_block_that_its_node_lost_waits_for_that() -> None:
    """The node went, and is back when the block's own cooldown is over."""
    c = Cluster(topology("10.0.0.0/29", 30), warm_blocks=0)
    c.node("n1")
    c.node("n2")
    c.pod("web/a", "n1")
    c.pod("web/z", "n2")
    c.decide()
    assert request(c, "db/pg-0", "n1", sticky="10m")[-1] == "db/pg-0 on n1: 10.0.0.1"
    c.no_pod("web/a")
    c.no_pod("db/pg-0")
    c.no_node("n1")
    c.decide()
    c.node("n1")
    c.later(100)
    assert request(c, "web/b", "n1", address="10.0.0.2")[-1] == "web/b on n1: wish"
    assert why(c, "web/b") == "10.0.0.2 is not free yet"
    c.later(500)
    assert c.says() == ["10.0.0.2/32 to n1 for web pod:b", "web/b on n1: 10.0.0.2"]


def test_reserved_address_is_denied_until_the_range_is_unreserved() -> None:
    c = cluster()
    c.send(ev.RangeReserved(cidr="10.0.0.8/29"))
    assert request(c, "web/a", "n1", address="10.0.0.9") == ["web/a on n1: wish"]
    assert why(c, "web/a") == "10.0.0.9 is reserved"
    c.send(ev.RangeUnreserved(cidr="10.0.0.8/29"))
    assert c.says()[-1] == "web/a on n1: 10.0.0.9"


def test_an_address_of_another_group_is_given_when_the_node_is_there() -> None:
    c = cluster()
    assert request(c, "web/a", "n1", address="10.0.0.70") == ["web/a on n1: wish"]
    assert why(c, "web/a") == "10.0.0.70 is outside the groups of node n1: 10.0.0.0/26"
    c.node("n1", {"rack": "b"})
    assert c.says()[-1] == "web/a on n1: 10.0.0.70"


def test_two_pods_that_request_one_address_do_not_share_it() -> None:
    c = cluster()
    c.pod("web/a", "n1", annotations={ADDRESS: "10.0.0.9"})
    c.pod("web/b", "n2", annotations={ADDRESS: "10.0.0.9"})
    assert c.says()[1:] == ["web/a on n1: 10.0.0.9", "web/b on n2: wish"]
    c.no_pod("web/a")
    c.decide()
    c.later(30)
    assert c.says()[-1] == "web/b on n2: 10.0.0.9"


def test_one_address_of_each_family() -> None:
    document = {
        "networks": [{"name": "v4", "cidr": "10.0.0.0/24"}, {"name": "v6", "cidr": "fd00::/112"}],
        "topologies": [{"networks": ["v4", "v6"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    assert request(c, "web/a", "n1", address="fd00::7,10.0.0.9")[-1] == "web/a on n1: 10.0.0.9 fd00::7"
    assert request(c, "web/b", "n1", address="fd00::8")[-1] == "web/b on n1: 10.0.0.0 fd00::8"
    assert request(c, "web/c", "n1", address="fd00::8, 10.0.0.77") == ["web/c on n1: wish"]
    assert why(c, "web/c") == "fd00::8 is web/b's"


def test_address_of_a_family_without_a_network() -> None:
    c = cluster()
    assert request(c, "web/a", "n1", address="fd00::7") == ["web/a on n1: wish"]
    assert why(c, "web/a") == "fd00::7: node n1 is in no group with IPv6 addresses"
