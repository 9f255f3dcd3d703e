"""Reserving and unreserving ranges."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.ipam.change.reserve import BadRange, covering, live, reserve, unreserve
from tests.ipam.cluster import Cluster, topology


def cluster() -> Cluster:
    return Cluster(topology("10.0.0.0/24", 30))


def refused(c: Cluster, cidr: str) -> str:
    with pytest.raises(BadRange) as caught:
        reserve(c.state, cidr)
    return caught.value.kind


def test_a_range_inside_one_network() -> None:
    assert reserve(cluster().state, "10.0.0.8/29") == [ev.RangeReserved(cidr="10.0.0.8/29")]


@pytest.mark.parametrize(
    ("cidr", "kind"),
    [
        ("nonsense", "bad_cidr"),
        ("10.0.0.1/24", "bad_cidr"),
        ("10.1.0.0/30", "no_network"),
        ("10.0.0.0/16", "no_network"),
        ("10.0.0.0/24", "whole_network"),
    ],
)
def test_a_range_that_cannot_be_reserved(cidr: str, kind: str) -> None:
    assert refused(cluster(), cidr) == kind


def test_a_larger_range_replaces_those_inside_it_and_a_smaller_one_adds_nothing() -> None:
    c = cluster()
    c.send(*reserve(c.state, "10.0.0.8/30"), *reserve(c.state, "10.0.0.12/32"))
    request = reserve(c.state, "10.0.0.8/29")
    assert request == [
        ev.RangeReserved(cidr="10.0.0.8/29"),
        ev.RangeUnreserved(cidr="10.0.0.12/32"),
        ev.RangeUnreserved(cidr="10.0.0.8/30"),
    ]
    c.send(*request)
    assert reserve(c.state, "10.0.0.8/31") == []


def test_used_range_is_reserved_only_with_force() -> None:
    c = cluster()
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    assert refused(c, "10.0.0.0/30") == "in_use"
    assert reserve(c.state, "10.0.0.0/30", despite_use=True) == [ev.RangeReserved(cidr="10.0.0.0/30")]


def test_only_reserved_ranges_can_be_unreserved() -> None:
    c = cluster()
    c.send(*reserve(c.state, "10.0.0.8/30"))
    with pytest.raises(BadRange, match=r"10\.0\.0\.8/31 is not reserved; 10\.0\.0\.8/30 is"):
        unreserve(c.state, "10.0.0.8/31")
    assert unreserve(c.state, "10.0.0.8/30") == [ev.RangeUnreserved(cidr="10.0.0.8/30")]


@pytest.mark.parametrize(("text", "cidr"), [("10.0.0.9", "10.0.0.9/32"), ("fd00::9", "fd00::9/128")])
def test_an_address_alone_is_a_range_of_one(text: str, cidr: str) -> None:
    c = Cluster(
        topology(cidr.partition("9")[0] + ("0/24" if "." in cidr else "/64"), 30 if "." in cidr else 126)
    )
    c.send(*reserve(c.state, text))
    assert list(c.state.reserves) == [cidr]
    assert covering(c.state, text) == cidr
    assert unreserve(c.state, text) == [ev.RangeUnreserved(cidr=cidr)]


def test_reserving_again_is_no_error_though_pods_are_inside() -> None:
    c = cluster()
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    c.send(*reserve(c.state, "10.0.0.0/30", despite_use=True))
    assert reserve(c.state, "10.0.0.0/30") == []
    assert live(c.state, "10.0.0.0/30") == [("10.0.0.0", "web/a")]


def test_of_many_pods_some_are_named() -> None:
    c = cluster()
    c.node("n1")
    for number in range(9):
        c.pod(f"web/p{number}", "n1")
    c.decide()
    with pytest.raises(BadRange, match=r"10\.0\.0\.0 \(web/p0\), .*10\.0\.0\.4 \(web/p4\) and 4 more"):
        reserve(c.state, "10.0.0.0/28")


def test_draining_range_assigns_no_address_and_keeps_the_used_ones() -> None:
    c = Cluster(topology("10.0.0.0/29", 30), warm_blocks=0, cooldown=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    c.send(*reserve(c.state, "10.0.0.0/30", despite_use=True))
    c.pod("web/b", "n1")
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0", "web/b": "10.0.0.4"}
    c.no_pod("web/a")
    c.pod("web/c", "n1")
    c.decide()
    assert c.addresses() == {"web/b": "10.0.0.4", "web/c": "10.0.0.5"}
    c.send(*unreserve(c.state, "10.0.0.0/30"))
    for name in "def":
        c.pod(f"web/{name}", "n1")
    c.decide()
    assert c.addresses()["web/f"] == "10.0.0.0"
