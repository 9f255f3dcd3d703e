"""Networks compared with what nodes live on, before somebody sets them."""

from __future__ import annotations

import pytest

from romana_bus.inet import parse_prefix
from romana_bus.ipam.change.overlaps import overlaps
from tests.ipam.cluster import Cluster, topology

NODES = "nodes n1, n2, n3 and 2 more"
API = "an address of the log or the API server for"


def found(c: Cluster, cidr: str, *services: str) -> list[str]:
    return [each.text for each in overlaps(c.state, [parse_prefix(cidr)], map(parse_prefix, services))]


@pytest.fixture
def lab() -> Cluster:
    """Five nodes on one link, with one gateway; the first one has a second link."""
    c = Cluster()
    for n in range(1, 6):
        c.node(f"n{n}")
        c.lives_on(
            f"n{n}", connected=("172.31.1.0/24", *(["10.9.0.0/16"] if n == 1 else [])),
            addresses=(f"172.31.1.{10 + n}",), gateways=("172.31.1.1",), reached=("10.96.0.1",),
        )  # fmt: skip
    return c


@pytest.mark.parametrize(
    ("cidr", "texts"),
    [
        ("172.31.1.0/24", [f"172.31.1.0/24, a connected prefix of {NODES}"]),
        ("172.31.0.0/16", [f"172.31.1.0/24, a connected prefix of {NODES}"]),
        ("172.31.1.64/26", [f"172.31.1.0/24, a connected prefix of {NODES}"]),
        ("10.9.128.0/17", ["10.9.0.0/16, a connected prefix of node n1"]),
        ("10.96.0.0/12", [f"10.96.0.1, {API} {NODES}"]),
        ("192.168.0.0/16", [f"192.168.0.{n}, an address of node n{n}" for n in range(1, 6)]),
        ("10.0.0.0/8", ["10.9.0.0/16, a connected prefix of node n1", f"10.96.0.1, {API} {NODES}"]),
        ("172.30.0.0/16", []),
        ("172.31.2.0/24", []),
        ("fd00::/8", []),
    ],
)
def test_what_overlaps(lab: Cluster, cidr: str, texts: list[str]) -> None:
    assert found(lab, cidr) == [f"{cidr} overlaps {text}" for text in texts]


@pytest.mark.parametrize(
    ("cidr", "overlapping"),
    [
        ("10.96.0.0/16", True),
        ("10.96.128.0/17", True),
        ("10.0.0.0/8", True),
        ("10.97.0.0/16", False),
        ("fd01::/64", True),
    ],
)
def test_service_cidr(cidr: str, overlapping: bool) -> None:
    texts = found(Cluster(), cidr, "10.96.0.0/16", "fd01::/108")
    service = "fd01::/108" if ":" in cidr else "10.96.0.0/16"
    assert texts == ([f"{cidr} overlaps {service}, the service CIDR of the cluster"] if overlapping else [])


def test_nodes_that_are_gone_do_not_count(lab: Cluster) -> None:
    for n in range(2, 6):
        lab.no_node(f"n{n}")
    assert found(lab, "172.31.1.0/24") == [
        "172.31.1.0/24 overlaps 172.31.1.0/24, a connected prefix of node n1"
    ]
    lab.no_node("n1")
    assert found(lab, "172.31.1.0/24") == []


def test_a_network_is_in_use_once_pods_have_its_addresses(lab: Cluster) -> None:
    """Then it is no longer refused: that would end nothing. A larger one is."""
    c = Cluster(topology("10.9.0.0/20", 28))
    c.node("n1")
    c.decide()
    c.lives_on("n1", connected=("10.9.8.0/24",))

    def in_use(cidr: str) -> list[bool]:
        return [each.in_use for each in overlaps(c.state, [parse_prefix(cidr)])]

    assert in_use("10.9.0.0/20") == [False]
    c.pod("web/a", "n1")
    c.decide()
    assert in_use("10.9.0.0/20") == [False], "the node has left it"
    c.lives_on("n1")
    c.decide()
    c.lives_on("n1", connected=("10.9.8.0/24",))
    assert in_use("10.9.0.0/20") == [True]
    assert in_use("10.9.0.0/16") == [False]
