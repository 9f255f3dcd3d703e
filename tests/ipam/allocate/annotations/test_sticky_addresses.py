"""A sticky address: kept for the next pod of the same name."""

from __future__ import annotations

from romana_bus import events as ev
from tests.ipam.allocate.annotations.annotated import ADDRESS, STICKY, cluster, request
from tests.ipam.cluster import Cluster, topology


def kept(sticky: str, **limits: str) -> Cluster:
    """10.0.0.0 is kept for the next pod db/pg-0, which was on n1 and is gone."""
    c = cluster(limits)
    request(c, "db/pg-0", "n1", sticky=sticky)
    c.no_pod("db/pg-0")
    c.decide()
    return c


def test_a_sticky_address_comes_back_on_the_same_node() -> None:
    c = cluster()
    assert request(c, "db/pg-0", "n1", sticky="10m") == [
        "10.0.0.0/32 to n1 for db pod:pg-0",
        "db/pg-0 on n1: 10.0.0.0",
    ]
    c.no_pod("db/pg-0")
    assert c.says() == ["db/pg-0 on n1: released, the pod is gone"]
    c.later(599)
    c.pod("web/other", "n1")
    assert c.says() == ["10.0.0.4/30 to n1", "web/other on n1: 10.0.0.4"]
    assert request(c, "db/pg-0", "n1", sticky="10m", uid="2") == ["db/pg-0 on n1: 10.0.0.0"]


def test_sticky_address_follows_its_pod_within_the_group() -> None:
    c = kept("10m")
    assert request(c, "db/pg-0", "n2", sticky="10m", uid="2") == [
        "db/pg-0 on n1: released, the pod is on node n2 now",
        "10.0.0.0/32 from n1",
        "10.0.0.0/32 to n2 for db pod:pg-0",
        "db/pg-0 on n2: 10.0.0.0",
    ]
    assert c.rebuilt().addresses() == {"db/pg-0": "10.0.0.0"}


def test_a_fixed_one_may_be_sticky_too_and_follows_its_pod() -> None:
    c = cluster()
    request(c, "db/pg-0", "n1", sticky="10m", address="10.0.0.9")
    c.no_pod("db/pg-0")
    c.decide()
    assert request(c, "db/pg-0", "n2", sticky="10m", address="10.0.0.9", uid="2")[-1] == (
        "db/pg-0 on n2: 10.0.0.9"
    )


def test_it_comes_back_beside_others_of_its_block() -> None:
    c = Cluster(topology("10.0.0.0/30", 30), warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    assert request(c, "db/pg-0", "n1", sticky="10m")[-1] == "db/pg-0 on n1: 10.0.0.1"
    c.pod("web/b", "n1")
    c.decide()
    c.no_pod("db/pg-0")
    c.decide()
    assert request(c, "db/pg-0", "n1", sticky="10m", uid="2") == ["db/pg-0 on n1: 10.0.0.1"]


def test_sticky_address_comes_back_after_its_node_died() -> None:
    c = cluster()
    request(c, "db/pg-0", "n1", sticky="10m")
    c.no_node("n1")
    c.no_pod("db/pg-0")
    c.decide()
    assert request(c, "db/pg-0", "n2", sticky="10m", uid="2")[-1] == "db/pg-0 on n2: 10.0.0.0"


def test_in_another_group_it_gets_another_and_the_old_one_when_it_returns() -> None:
    c = kept("10m")
    assert request(c, "db/pg-0", "n3", sticky="10m", uid="2")[-1] == "db/pg-0 on n3: 10.0.0.64"
    c.no_pod("db/pg-0")
    c.decide()
    assert request(c, "db/pg-0", "n2", sticky="10m", uid="3")[-1] == "db/pg-0 on n2: 10.0.0.0"


def test_it_does_not_come_back_out_of_a_range_that_is_reserved_by_now() -> None:
    c = kept("10m")
    c.send(ev.RangeReserved(cidr="10.0.0.0/32"))
    assert request(c, "db/pg-0", "n1", sticky="10m", uid="2")[-1] == "db/pg-0 on n1: 10.0.0.1"


def test_it_is_kept_for_longer_than_the_log_is() -> None:
    """The tombstone that says so stays in the table as long as it says something."""
    c = kept("14d", max_retention="14d")
    c.later(13 * 86_400)
    booted = c.rebuilt()
    assert request(booted, "db/pg-0", "n1", sticky="14d", uid="2")[-1] == "db/pg-0 on n1: 10.0.0.0"


def test_sticky_address_is_free_after_the_retention_time() -> None:
    c = kept("10m")
    c.later(600)
    assert c.says() == ["10.0.0.0/32 from n1"]
    c.pod("web/other", "n2")
    assert c.says() == ["10.0.0.0/30 to n2", "web/other on n2: 10.0.0.0"]
    assert request(c, "db/pg-0", "n1", sticky="10m", uid="2")[-1] == "db/pg-0 on n1: 10.0.0.4"


def test_a_denied_pod_does_not_get_the_address_that_another_pod_of_its_name_had() -> None:
    """Neither when it is tried again, nor by a process that boots meanwhile."""
    c = kept("10m")
    request(c, "web/b", "n1", address="10.0.0.1")
    assert request(c, "db/pg-0", "n1", address="10.0.0.1", uid="2") == ["db/pg-0 on n1: wish"]
    assert c.rebuilt().says() == []


def test_only_a_pod_of_its_name_in_its_namespace_gets_it() -> None:
    c = kept("true")
    assert request(c, "web/pg-0", "n1", sticky="true")[-1] == "web/pg-0 on n1: 10.0.0.1"
    assert request(c, "db/pg-1", "n1", sticky="true")[-1] == "db/pg-1 on n1: 10.0.0.2"


def test_pod_without_the_annotation_gets_any_address_and_the_sticky_one_is_kept() -> None:
    c = kept("1h")
    c.pod("db/pg-0", "n1", uid="2")
    assert c.says() == ["10.0.0.4/30 to n1", "db/pg-0 on n1: 10.0.0.4"]


def test_the_next_pod_of_the_name_that_comes_before_the_last_one_was_seen_to_go() -> None:
    c = cluster()
    request(c, "db/pg-0", "n1", sticky="true")
    assert request(c, "db/pg-0", "n1", sticky="true", uid="2") == [
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
    request(c, "db/pg-0", "n1", sticky="true")
    c.no_pod("db/pg-0")
    c.decide()
    assert request(c, "db/pg-0", "n2", sticky="true", uid="2")[-1] == "db/pg-0 on n2: 10.0.0.0 fd00::"


def test_sticky_pod_gets_an_address_of_the_nodes_block_in_a_full_group() -> None:
    c = Cluster(topology("10.0.0.0/30", 31), warm_blocks=0)
    c.node("n1")
    c.node("n2")
    c.pod("web/a", "n1")
    c.pod("web/b", "n2")
    c.decide()
    assert request(c, "db/pg-0", "n1", sticky="true") == ["db/pg-0 on n1: 10.0.0.1"]
    c.no_pod("db/pg-0")
    c.decide()
    assert request(c, "db/pg-0", "n2", sticky="true", uid="2") == ["db/pg-0 on n2: 10.0.0.3"]
    c.no_pod("db/pg-0")
    c.decide()
    assert request(c, "db/pg-0", "n1", sticky="true", uid="3") == ["db/pg-0 on n1: 10.0.0.1"]


def test_sticky_addresses_survive_the_loss_of_the_store() -> None:
    """Their addresses are inside blocks of their own, and so they are again."""
    c = cluster({"max_broken_blocks": "20%"})
    request(c, "db/pg-0", "n1", sticky="true")
    request(c, "web/a", "n2", address="10.0.0.5")
    c.pod("web/b", "n2")
    c.decide()
    had = c.addresses()
    new = cluster()
    new.pod("web/b", "n2", ips=tuple(had["web/b"].split()))
    new.pod("db/pg-0", "n1", ips=tuple(had["db/pg-0"].split()), annotations={STICKY: "true"})
    new.pod("web/a", "n2", ips=tuple(had["web/a"].split()), annotations={ADDRESS: "10.0.0.5"})
    new.decide()
    assert new.addresses() == had
