"""What wakes a reconciler, and what does not."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import pytest

from romana_bus.inet import parse_prefix
from romana_bus.netlink.monitor import PREFIXES, Monitor, Stale
from romana_bus.routing import State
from tests.netlink.test_fib import Here
from tests.netns import Namespace, needs_namespaces
from tests.routing.routes.hosts_and_blocks import PAIR, block, denied, placed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.netlink.fib import Forwarding

pytestmark = needs_namespaces


@pytest.fixture
def monitor(node: Namespace, forwarding: Forwarding) -> Iterator[Monitor]:
    node.settle()  # what the kernel gives the link is no change
    with node.entered(), Monitor(forwarding.port) as opened:
        yield opened


def heard(monitor: Monitor) -> Stale:
    select.select([monitor], [], [], 5)
    return monitor.take()


def test_own_changes_are_ignored(forwarding: Forwarding, monitor: Monitor, node: Namespace) -> None:
    here = Here(forwarding)
    here.feed(*PAIR)
    here.feed(placed("you", "10.99.0.9"), block("you", "10.1.2.0/28"))
    here.state = State("me")
    here.feed(denied("me"))
    assert not select.select([monitor], [], [], 0)[0]


def test_foreign_change_of_our_routes_is_noticed(
    forwarding: Forwarding, monitor: Monitor, node: Namespace
) -> None:
    Here(forwarding).feed(*PAIR)
    node.ip("route", "del", "10.1.0.16/28")
    assert heard(monitor) == Stale(ours=True)
    node.ip("-6", "route", "del", "fd01::10/124")
    assert heard(monitor) == Stale(ours=True)


def test_foreign_route_is_reported_with_its_prefix(monitor: Monitor, node: Namespace) -> None:
    node.ip("route", "add", "10.50.0.0/16", "via", "10.99.0.77")
    assert heard(monitor) == Stale(prefixes=frozenset([parse_prefix("10.50.0.0/16")]))


def test_many_foreign_routes_are_reported_without_prefixes(monitor: Monitor, node: Namespace) -> None:
    for at in range(PREFIXES):
        node.ip("route", "add", f"10.50.{at}.0/24", "via", "10.99.0.77")
    seen = heard(monitor)
    assert not seen.all
    assert len(seen.prefixes) == PREFIXES
    node.ip("route", "add", "10.51.0.0/24", "via", "10.99.0.77")
    assert seen | heard(monitor) == Stale(all=True)


@pytest.mark.parametrize(
    "change",
    [
        ("link", "set", "eth0", "down"),
        ("link", "set", "eth0", "mtu", "1400"),
        ("address", "add", "10.98.0.1/24", "dev", "eth0"),
        ("address", "del", "10.99.0.1/16", "dev", "eth0"),
        ("-6", "address", "add", "fd98::1/64", "dev", "eth0", "nodad"),
        ("rule", "add", "from", "10.0.0.9", "table", "9"),
    ],
)
def test_link_address_and_rule_changes_require_a_full_resync(
    monitor: Monitor, node: Namespace, change: tuple[str, ...]
) -> None:
    node.ip(*change)
    seen = heard(monitor)
    while not seen.all and select.select([monitor], [], [], 5)[0]:  # it is told in several messages
        seen |= monitor.take()
    assert seen.all


def test_pod_links_cause_no_resync(monitor: Monitor, node: Namespace) -> None:
    node.ip("link", "add", "rb0123456789abc", "type", "veth", "peer", "name", "rbfedcba9876543")
    node.ip("link", "set", "rb0123456789abc", "up")
    node.ip("link", "set", "rbfedcba9876543", "up")
    node.ip("route", "add", "10.1.0.1/32", "dev", "rb0123456789abc", "proto", "83")
    seen = heard(monitor)
    assert not seen.ours
    assert not seen.all
    assert all(prefix.width == 128 for prefix in seen.prefixes)  # the link's own fe80::/64


def test_buffer_overrun_requires_a_full_resync(forwarding: Forwarding, node: Namespace) -> None:
    with node.entered(), Monitor(0, buffer=2048) as deaf:
        Here(forwarding).feed(*PAIR, *(block("you", f"10.3.{at}.0/28") for at in range(250)))
        assert deaf.take() == Stale(ours=True, all=True)
