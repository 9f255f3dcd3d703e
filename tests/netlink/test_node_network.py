"""What a node lives on, as read from a real kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.inet import format_address, parse_address
from romana_bus.netlink.node_network import Reached, read
from romana_bus.netlink.socket import Socket
from tests.netns import Namespace, needs_namespaces

if TYPE_CHECKING:
    from romana_bus.routing import Network

pytestmark = needs_namespaces

LINK = {"10.99.0.0/16", "fd99::/64"}
OWN = {"10.99.0.1", "fd99::1"}
ROUTERS = {"10.99.255.254", "fd99::ffff"}


def lives_on(node: Namespace, *reached: str, answered: str = "") -> Network:
    where = Reached(frozenset(map(parse_address, reached)), frozenset(map(parse_address, answered.split())))
    with node.inside(Socket) as socket:
        return read(socket, where)


def texts(addresses: Any) -> set[str]:
    return {format_address(*address) for address in addresses}


def test_addresses_prefixes_and_gateways_of_both_families(node: Namespace) -> None:
    found = lives_on(node)
    assert texts(found.addresses) == OWN
    assert set(map(str, found.connected)) == LINK
    assert texts(found.gateways) == ROUTERS
    assert found.lengths == {parse_address("10.99.255.254"): 16, parse_address("fd99::ffff"): 64}


@pytest.mark.parametrize(
    ("change", "connected", "own", "gateways"),
    [
        ("address add 10.98.0.1/24 dev eth0", {"10.98.0.0/24"}, {"10.98.0.1"}, set()),
        ("address add 10.98.0.1/32 dev eth0", set(), {"10.98.0.1"}, set()),
        ("address add 10.98.0.1/24 dev eth0 noprefixroute", set(), {"10.98.0.1"}, set()),
        ("address add 10.98.0.1/24 dev lo", set(), {"10.98.0.1"}, set()),
        ("address add 10.98.0.1 peer 10.97.0.1 dev eth0", set(), {"10.98.0.1"}, set()),
        ("-6 address add fd98::1/64 dev eth0 nodad", {"fd98::/64"}, {"fd98::1"}, set()),
        ("address add 169.254.7.7/16 dev eth0", set(), set(), set()),
        ("route add 10.98.0.0/24 dev eth0", {"10.98.0.0/24"}, set(), set()),
        ("-6 route add fd98::/64 dev eth0 proto ra", {"fd98::/64"}, set(), set()),
        ("route add 10.98.0.7/32 dev eth0 proto dhcp", set(), set(), set()),  # to a pod of another plugin
        ("route add 10.98.0.0/24 via 10.99.0.7", set(), set(), set()),
        ("route add 10.98.0.0/24 dev eth0 proto 82", set(), set(), set()),
        ("route add 10.98.0.7 dev eth0 proto 83", set(), set(), set()),
        ("route add default via 10.99.0.7 metric 900", set(), set(), {"10.99.0.7"}),
        (
            "route add default metric 900 nexthop via 10.99.0.7 nexthop via 10.99.0.8",
            set(), set(), {"10.99.0.7", "10.99.0.8"},
        ),
        ("-6 route add default via fe80::7 dev eth0 proto ra metric 900", set(), set(), set()),
        ("route add default via 10.99.0.7 proto bird metric 900", set(), set(), set()),
    ],
)  # fmt: skip
def test_change_of_the_node(
    node: Namespace, change: str, connected: set[str], own: set[str], gateways: set[str]
) -> None:
    node.ip(*change.split())
    found = lives_on(node)
    assert set(map(str, found.connected)) == LINK | connected
    assert texts(found.addresses) == OWN | own
    assert texts(found.gateways) == ROUTERS | gateways


def test_addresses_of_services_on_a_link_that_is_down_do_not_count(node: Namespace) -> None:
    """As kube-proxy has them, on a dummy; not every kernel here has one."""
    node.ip("link", "add", "kube-ipvs0", "type", "veth", "peer", "name", "other")
    node.ip("address", "add", "10.96.0.1/32", "dev", "kube-ipvs0")
    assert texts(lives_on(node).addresses) == OWN


def test_pods_are_nothing_that_the_node_lives_on(node: Namespace) -> None:
    before = lives_on(node)
    node.ip("link", "add", "rb0123456789abc", "type", "veth", "peer", "name", "pod")
    node.ip("address", "add", "fe80::1/64", "dev", "rb0123456789abc", "nodad")
    node.ip("link", "set", "pod", "up")
    node.ip("link", "set", "rb0123456789abc", "up")
    node.ip("route", "add", "10.1.0.7", "dev", "rb0123456789abc", "proto", "83")
    node.ip("-6", "route", "add", "fd01::7", "dev", "rb0123456789abc", "proto", "83")
    assert lives_on(node) == before


@pytest.mark.parametrize(
    ("change", "length", "gateways"),
    [
        ("", 0, set()),
        ("route add 10.50.0.0/16 via 10.99.0.7", 16, {"10.99.0.7"}),
        ("route add 10.50.0.0/24 via 10.99.0.7 proto bird", 24, {"10.99.0.7"}),
        ("route add 10.50.0.0/24 nexthop via 10.99.0.7 nexthop via 10.99.0.8", 24,
         {"10.99.0.7", "10.99.0.8"}),
        ("route add 10.50.0.0/20 dev eth0", 20, set()),
        ("route add 10.50.0.0/24 via 10.99.0.7 proto 82", 0, set()),
        ("route add unreachable 10.50.0.0/24 proto 82", 0, set()),
    ],
)  # fmt: skip
def test_the_way_to_the_log(node: Namespace, change: str, length: int, gateways: set[str]) -> None:
    if change:
        node.ip(*change.split())
    found = lives_on(node, "10.50.0.1", "127.0.0.1")
    assert texts(found.reached) == {"10.50.0.1"}
    assert found.lengths.get(parse_address("10.50.0.1"), 0) == length
    assert texts(found.gateways) == ROUTERS | gateways


@pytest.mark.parametrize(
    ("protocol", "answered", "counts"),
    [("82", "", True), ("82", "10.50.0.1", False), ("83", "", False), ("4", "10.50.0.1", True)],
)
def test_log_that_runs_in_a_pod_is_reached_by_our_route(
    node: Namespace, protocol: str, answered: str, counts: bool
) -> None:
    """If it has answered over our route, or is a pod of this node: without the route it would be lost."""
    node.ip("route", "add", "10.50.0.1", "dev", "eth0", "proto", protocol)
    assert bool(lives_on(node, "10.50.0.1", answered=answered).reached) == counts
