"""What a pod asks for by annotation: met, or denied with the reason until it can be met."""

from __future__ import annotations

from typing import Any

import pytest

from romana_bus import events as ev
from tests.ipam.cluster import Cluster, topology

ADDRESS, NETWORK, STICKY = "romana.io/address", "romana.io/network", "romana.io/sticky-address"
NO_TIME = "is not a time: write `true`, 90s, 10m, 2h or 7d"
RACKS = [{"name": name, "assignment": {"rack": name}} for name in "ab"]


def cluster(**settings: Any) -> Cluster:
    """Two racks of 64 addresses, blocks of four: n1 and n2 in a, n3 in b."""
    c = Cluster(topology("10.0.0.0/25", 30, *RACKS), **{"warm_blocks": 0, **settings})
    for name, rack in (("n1", "a"), ("n2", "a"), ("n3", "b")):
        c.node(name, {"rack": rack})
    c.decide()
    return c


def wish(c: Cluster, key: str, node: str, **more: str) -> list[str]:
    """The pod is seen with its wishes, and what is decided then."""
    names = {"address": ADDRESS, "network": NETWORK, "sticky": STICKY}
    uid = more.pop("uid", f"uid-{key}")
    c.pod(key, node, annotations={names[name]: value for name, value in more.items()}, uid=uid)
    return c.says()


def why(c: Cluster, key: str) -> str:
    name = key.partition("/")[2]
    (event,) = (event for event in c.newest(ev.AddressDenied) if event.name == name)
    assert event.code == "wish"
    return event.reason


# --- a fixed address ---------------------------------------------------------------------------------------


def test_a_fixed_address_is_a_block_of_its_own() -> None:
    c = cluster()
    assert wish(c, "web/a", "n1", address="10.0.0.9") == [
        "10.0.0.9/32 to n1 for web pod:a",
        "web/a on n1: 10.0.0.9",
    ]
    c.pod("web/b", "n1")
    assert c.says() == ["10.0.0.0/30 to n1", "web/b on n1: 10.0.0.0"]


def test_a_fixed_address_inside_a_block_that_the_node_has_needs_no_other() -> None:
    c = cluster()
    c.pod("web/b", "n1")
    c.decide()
    assert wish(c, "web/a", "n1", address="10.0.0.3") == ["web/a on n1: 10.0.0.3"]


def test_a_fixed_address_takes_the_place_of_another_nodes_spare_block() -> None:
    c = cluster(warm_blocks=1)
    assert c.blocks() == {"10.0.0.0/30": "n1", "10.0.0.4/30": "n2", "10.0.0.64/30": "n3"}
    assert wish(c, "web/a", "n1", address="10.0.0.5") == [
        "10.0.0.4/30 from n2",
        "10.0.0.5/32 to n1 for web pod:a",
        "web/a on n1: 10.0.0.5",
        "10.0.0.8/30 to n2",
    ]


def test_who_has_the_address_is_said_and_it_is_given_when_it_is_free() -> None:
    c = cluster()
    c.pod("web/b", "n1")
    c.decide()
    assert wish(c, "web/a", "n1", address="10.0.0.0") == ["web/a on n1: wish"]
    assert why(c, "web/a") == "10.0.0.0 is web/b's"
    c.no_pod("web/b")
    assert c.says() == ["web/b on n1: released, the pod is gone", "web/a on n1: wish"]
    assert why(c, "web/a") == "10.0.0.0 is cooling down"
    c.later(30)
    assert c.says() == ["web/a on n1: 10.0.0.0"]


def test_an_address_in_another_nodes_block_is_given_when_that_node_needs_it_no_more() -> None:
    c = cluster()
    c.pod("web/b", "n2")
    c.decide()
    assert wish(c, "web/a", "n1", address="10.0.0.2") == ["web/a on n1: wish"]
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
    assert wish(c, "db/pg-0", "n1", sticky="10m")[-1] == "db/pg-0 on n1: 10.0.0.1"
    c.no_pod("web/a")
    c.no_pod("db/pg-0")
    c.no_node("n1")
    c.decide()
    c.node("n1")
    c.later(100)
    assert wish(c, "web/b", "n1", address="10.0.0.2")[-1] == "web/b on n1: wish"
    assert why(c, "web/b") == "10.0.0.2 is not free yet"
    c.later(500)
    assert c.says() == ["10.0.0.2/32 to n1 for web pod:b", "web/b on n1: 10.0.0.2"]


def test_a_reserved_address_is_for_nobody_until_the_range_is_given_free() -> None:
    c = cluster()
    c.send(ev.RangeReserved(cidr="10.0.0.8/29"))
    assert wish(c, "web/a", "n1", address="10.0.0.9") == ["web/a on n1: wish"]
    assert why(c, "web/a") == "10.0.0.9 is reserved"
    c.send(ev.RangeUnreserved(cidr="10.0.0.8/29"))
    assert c.says()[-1] == "web/a on n1: 10.0.0.9"


def test_an_address_of_another_group_is_given_when_the_node_is_there() -> None:
    c = cluster()
    assert wish(c, "web/a", "n1", address="10.0.0.70") == ["web/a on n1: wish"]
    assert why(c, "web/a") == "10.0.0.70 is outside the groups of node n1: 10.0.0.0/26"
    c.node("n1", {"rack": "b"})
    assert c.says()[-1] == "web/a on n1: 10.0.0.70"


def test_two_pods_that_wish_for_one_address_do_not_share_it() -> None:
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
    assert wish(c, "web/a", "n1", address="fd00::7,10.0.0.9")[-1] == "web/a on n1: 10.0.0.9 fd00::7"
    assert wish(c, "web/b", "n1", address="fd00::8")[-1] == "web/b on n1: 10.0.0.0 fd00::8"
    assert wish(c, "web/c", "n1", address="fd00::8, 10.0.0.77") == ["web/c on n1: wish"]
    assert why(c, "web/c") == "fd00::8 is web/b's"


def test_an_address_of_a_family_that_there_is_none_of() -> None:
    c = cluster()
    assert wish(c, "web/a", "n1", address="fd00::7") == ["web/a on n1: wish"]
    assert why(c, "web/a") == "fd00::7: node n1 is in no group with IPv6 addresses"


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"address": "10.0.0"}, "romana.io/address: '10.0.0' is not an IP address"),
        (
            {"address": "10.0.0.1,10.0.0.2"},
            "romana.io/address: '10.0.0.1,10.0.0.2' has two addresses of one family",
        ),
        ({"sticky": "soon"}, f"romana.io/sticky-address: 'soon' {NO_TIME}"),
        ({"sticky": "0s"}, f"romana.io/sticky-address: '0s' {NO_TIME}"),
        ({"network": "blue"}, "there is no network blue"),
    ],
)
def test_a_wish_that_makes_no_sense_is_denied_and_nothing_else_is_given(
    wishes: dict[str, str], reason: str
) -> None:
    c = cluster()
    assert wish(c, "web/a", "n1", **wishes) == ["web/a on n1: wish"]
    assert why(c, "web/a") == reason
    c.pod("web/a", "n1")
    assert c.says()[-1] == "web/a on n1: 10.0.0.0"


# --- a network by name -----------------------------------------------------------------------------------


def test_a_network_by_name() -> None:
    document = {
        "networks": [
            {"name": "red", "cidr": "10.0.0.0/24"},
            {"name": "blue", "cidr": "10.1.0.0/24"},
            {"name": "green", "cidr": "10.2.0.0/24", "tenants": ["db"]},
            {"name": "far", "cidr": "10.3.0.0/24"},
        ],
        "topologies": [
            {"networks": ["red", "blue", "green"], "map": [{"groups": []}]},
            {"networks": ["far"], "map": [{"assignment": {"rack": "far"}}]},
        ],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    assert wish(c, "web/a", "n1", network="blue")[-1] == "web/a on n1: 10.1.0.0"
    assert wish(c, "web/b", "n1", network="green") == ["web/b on n1: wish"]
    assert why(c, "web/b") == "network green is not for tenant web"
    assert wish(c, "db/c", "n1", network="green")[-1] == "db/c on n1: 10.2.0.0"
    assert wish(c, "web/d", "n1", network="far") == ["web/d on n1: wish"]
    assert why(c, "web/d") == "node n1 is in no group of network far"
    assert wish(c, "web/e", "n1", network="far,blue")[-1] == "web/e on n1: 10.1.0.1"
    assert wish(c, "web/f", "n1", network="blue", address="10.0.0.5") == ["web/f on n1: wish"]
    assert why(c, "web/f") == "10.0.0.5 is outside the groups of node n1: 10.1.0.0/24"


def test_a_network_that_is_added_serves_those_who_waited_for_it() -> None:
    c = cluster()
    wish(c, "web/a", "n1", network="blue")
    document = topology("10.0.0.0/25", 30, *RACKS)
    document["networks"].append({"name": "blue", "cidr": "10.9.0.0/24"})
    document["topologies"].append({"networks": ["blue"], "map": [{"groups": []}]})
    c.send(ev.TopologySet(document=document))
    assert c.says()[-1] == "web/a on n1: 10.9.0.0"


# --- a sticky address --------------------------------------------------------------------------------------


def test_a_sticky_address_comes_back_on_the_same_node() -> None:
    c = cluster()
    assert wish(c, "db/pg-0", "n1", sticky="10m") == [
        "10.0.0.0/32 to n1 for db pod:pg-0",
        "db/pg-0 on n1: 10.0.0.0",
    ]
    c.no_pod("db/pg-0")
    assert c.says() == ["db/pg-0 on n1: released, the pod is gone"]
    c.later(599)
    c.pod("web/other", "n1")
    assert c.says() == ["10.0.0.4/30 to n1", "web/other on n1: 10.0.0.4"]
    assert wish(c, "db/pg-0", "n1", sticky="10m", uid="2") == ["db/pg-0 on n1: 10.0.0.0"]


def test_it_follows_its_pod_to_another_node_of_the_group_with_its_block() -> None:
    c = cluster()
    wish(c, "db/pg-0", "n1", sticky="10m")
    c.no_pod("db/pg-0")
    c.decide()
    assert wish(c, "db/pg-0", "n2", sticky="10m", uid="2") == [
        "db/pg-0 on n1: released, the pod is on node n2 now",
        "10.0.0.0/32 from n1",
        "10.0.0.0/32 to n2 for db pod:pg-0",
        "db/pg-0 on n2: 10.0.0.0",
    ]
    assert c.rebuilt().addresses() == {"db/pg-0": "10.0.0.0"}


def test_a_fixed_one_may_be_sticky_too_and_follows_its_pod() -> None:
    c = cluster()
    wish(c, "db/pg-0", "n1", sticky="10m", address="10.0.0.9")
    c.no_pod("db/pg-0")
    c.decide()
    assert wish(c, "db/pg-0", "n2", sticky="10m", address="10.0.0.9", uid="2")[-1] == (
        "db/pg-0 on n2: 10.0.0.9"
    )


def test_it_comes_back_beside_others_of_its_block() -> None:
    c = Cluster(topology("10.0.0.0/30", 30), warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    assert wish(c, "db/pg-0", "n1", sticky="10m")[-1] == "db/pg-0 on n1: 10.0.0.1"
    c.pod("web/b", "n1")
    c.decide()
    c.no_pod("db/pg-0")
    c.decide()
    assert wish(c, "db/pg-0", "n1", sticky="10m", uid="2") == ["db/pg-0 on n1: 10.0.0.1"]


def test_also_when_its_node_died() -> None:
    c = cluster()
    wish(c, "db/pg-0", "n1", sticky="10m")
    c.no_node("n1")
    c.no_pod("db/pg-0")
    c.decide()
    assert wish(c, "db/pg-0", "n2", sticky="10m", uid="2")[-1] == "db/pg-0 on n2: 10.0.0.0"


def test_in_another_group_it_gets_another_and_the_old_one_when_it_returns() -> None:
    c = cluster()
    wish(c, "db/pg-0", "n1", sticky="10m")
    c.no_pod("db/pg-0")
    c.decide()
    assert wish(c, "db/pg-0", "n3", sticky="10m", uid="2")[-1] == "db/pg-0 on n3: 10.0.0.64"
    c.no_pod("db/pg-0")
    c.decide()
    assert wish(c, "db/pg-0", "n2", sticky="10m", uid="3")[-1] == "db/pg-0 on n2: 10.0.0.0"


def test_it_does_not_come_back_out_of_a_range_that_is_reserved_by_now() -> None:
    c = cluster()
    wish(c, "db/pg-0", "n1", sticky="10m")
    c.no_pod("db/pg-0")
    c.decide()
    c.send(ev.RangeReserved(cidr="10.0.0.0/32"))
    assert wish(c, "db/pg-0", "n1", sticky="10m", uid="2")[-1] == "db/pg-0 on n1: 10.0.0.1"


def test_it_is_kept_for_longer_than_the_log_is() -> None:
    """The tombstone that says so stays in the table as long as it says something."""
    c = cluster()
    wish(c, "db/pg-0", "n1", sticky="14d")
    c.no_pod("db/pg-0")
    c.decide()
    c.later(13 * 86_400)
    booted = c.rebuilt()
    assert wish(booted, "db/pg-0", "n1", sticky="14d", uid="2")[-1] == "db/pg-0 on n1: 10.0.0.0"


def test_after_the_retention_time_it_is_anybodys() -> None:
    c = cluster()
    wish(c, "db/pg-0", "n1", sticky="10m")
    c.no_pod("db/pg-0")
    c.decide()
    c.later(600)
    assert c.says() == ["10.0.0.0/32 from n1"]
    c.pod("web/other", "n2")
    assert c.says() == ["10.0.0.0/30 to n2", "web/other on n2: 10.0.0.0"]
    assert wish(c, "db/pg-0", "n1", sticky="10m", uid="2")[-1] == "db/pg-0 on n1: 10.0.0.4"


def test_only_a_pod_of_its_name_in_its_namespace_gets_it() -> None:
    c = cluster()
    wish(c, "db/pg-0", "n1", sticky="true")
    c.no_pod("db/pg-0")
    c.decide()
    assert wish(c, "web/pg-0", "n1", sticky="true")[-1] == "web/pg-0 on n1: 10.0.0.1"
    assert wish(c, "db/pg-1", "n1", sticky="true")[-1] == "db/pg-1 on n1: 10.0.0.2"


def test_a_pod_of_the_name_that_no_longer_asks_gets_any_address_and_the_old_one_stays_kept() -> None:
    c = cluster()
    wish(c, "db/pg-0", "n1", sticky="1h")
    c.no_pod("db/pg-0")
    c.decide()
    c.pod("db/pg-0", "n1", uid="2")
    assert c.says() == ["10.0.0.4/30 to n1", "db/pg-0 on n1: 10.0.0.4"]


def test_the_next_pod_of_the_name_that_comes_before_the_last_one_was_seen_to_go() -> None:
    c = cluster()
    wish(c, "db/pg-0", "n1", sticky="true")
    assert wish(c, "db/pg-0", "n1", sticky="true", uid="2") == [
        "db/pg-0 on n1: released, a new pod of the same name took its place",
        "db/pg-0 on n1: 10.0.0.0",
    ]


def test_both_families_come_back() -> None:
    document = {
        "networks": [{"name": "v4", "cidr": "10.0.0.0/24"}, {"name": "v6", "cidr": "fd00::/112"}],
        "topologies": [{"networks": ["v4", "v6"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    c.node("n2")
    wish(c, "db/pg-0", "n1", sticky="true")
    c.no_pod("db/pg-0")
    c.decide()
    assert wish(c, "db/pg-0", "n2", sticky="true", uid="2")[-1] == "db/pg-0 on n2: 10.0.0.0 fd00::"


def test_where_the_group_has_no_free_room_left_it_is_an_address_of_the_nodes_block() -> None:
    c = Cluster(topology("10.0.0.0/30", 31), warm_blocks=0)
    c.node("n1")
    c.node("n2")
    c.pod("web/a", "n1")
    c.pod("web/b", "n2")
    c.decide()
    assert wish(c, "db/pg-0", "n1", sticky="true") == ["db/pg-0 on n1: 10.0.0.1"]
    c.no_pod("db/pg-0")
    c.decide()
    assert wish(c, "db/pg-0", "n2", sticky="true", uid="2") == ["db/pg-0 on n2: 10.0.0.3"]
    c.no_pod("db/pg-0")
    c.decide()
    assert wish(c, "db/pg-0", "n1", sticky="true", uid="3") == ["db/pg-0 on n1: 10.0.0.1"]


def test_what_running_pods_wished_for_comes_back_after_the_store_was_lost() -> None:
    """Their addresses are inside blocks of their own, and so they are again."""
    c = cluster()
    wish(c, "db/pg-0", "n1", sticky="true")
    wish(c, "web/a", "n2", address="10.0.0.5")
    c.pod("web/b", "n2")
    c.decide()
    had = c.addresses()
    new = cluster()
    new.pod("web/b", "n2", ips=tuple(had["web/b"].split()))
    new.pod("db/pg-0", "n1", ips=tuple(had["db/pg-0"].split()), annotations={STICKY: "true"})
    new.pod("web/a", "n2", ips=tuple(had["web/a"].split()), annotations={ADDRESS: "10.0.0.5"})
    new.decide()
    assert new.addresses() == had
