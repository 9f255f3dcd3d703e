"""What an operator's wish about reserved ranges comes to."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.ipam.reserve import BadRange, reserve, unreserve
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
    wish = reserve(c.state, "10.0.0.8/29")
    assert wish == [
        ev.RangeReserved(cidr="10.0.0.8/29"),
        ev.RangeUnreserved(cidr="10.0.0.12/32"),
        ev.RangeUnreserved(cidr="10.0.0.8/30"),
    ]
    c.send(*wish)
    assert reserve(c.state, "10.0.0.8/31") == []


def test_what_is_in_use_is_reserved_only_if_told_so() -> None:
    c = cluster()
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    assert refused(c, "10.0.0.0/30") == "in_use"
    assert reserve(c.state, "10.0.0.0/30", despite_use=True) == [ev.RangeReserved(cidr="10.0.0.0/30")]


def test_only_what_was_reserved_is_given_free_again() -> None:
    c = cluster()
    c.send(*reserve(c.state, "10.0.0.8/30"))
    with pytest.raises(BadRange, match=r"10\.0\.0\.8/31 is not reserved; 10\.0\.0\.8/30 is"):
        unreserve(c.state, "10.0.0.8/31")
    assert unreserve(c.state, "10.0.0.8/30") == [ev.RangeUnreserved(cidr="10.0.0.8/30")]
