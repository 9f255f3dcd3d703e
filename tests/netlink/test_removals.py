"""What is noticed of pods' links: what others take from them, and nothing of what an ADD or a DEL does."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import pytest

from romana_bus.netlink.removals import Removals
from tests.netns import Namespace, namespace, needs_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_namespaces

LINK = "rb0123456789abc"


@pytest.fixture
def node() -> Iterator[Namespace]:
    with namespace("node") as made:
        yield made


def attach(node: Namespace) -> None:
    """What an ADD does on the node's side."""
    node.ip("link", "add", LINK, "type", "veth", "peer", "name", "inside")
    node.ip("link", "set", LINK, "addrgenmode", "none")
    node.ip("link", "set", LINK, "up")
    node.ip("link", "set", "inside", "up")
    node.ip("address", "add", "fe80::1/64", "dev", LINK, "nodad")
    node.ip("neigh", "add", "proxy", "169.254.1.1", "dev", LINK)
    for address in ("10.1.0.1/32", "fd01::1/128"):
        node.ip("route", "add", address, "dev", LINK, "proto", "83")


@pytest.fixture
def removals(node: Namespace) -> Iterator[Removals]:
    attach(node)
    with node.entered(), Removals() as opened:
        yield opened


@pytest.mark.parametrize(
    "change",
    [
        ("ip", "link", "set", LINK, "down"),
        ("ip", "route", "del", "10.1.0.1/32"),
        ("ip", "route", "flush", "proto", "83"),
        ("ip", "-6", "route", "del", "fd01::1/128"),
        ("ip", "-6", "route", "flush", "proto", "83"),
        ("ip", "address", "del", "fe80::1/64", "dev", LINK),
        ("sysctl", "-qw", f"net.ipv6.conf.{LINK}.disable_ipv6=1"),
        ("sysctl", "-qw", f"net.ipv4.conf.{LINK}.rp_filter=2"),
        ("sysctl", "-qw", f"net.ipv4.conf.{LINK}.forwarding=1"),
        ("sysctl", "-qw", "net.ipv4.ip_forward=1"),
        ("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"),
        ("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=2"),
    ],
    ids=" ".join,
)
def test_what_is_taken_is_noticed_once(removals: Removals, node: Namespace, change: tuple[str, ...]) -> None:
    assert not removals.take()
    node.run(*change)
    select.select([removals], [], [], 5)
    assert removals.take()
    removals.clear()
    assert not removals.pending


def test_what_is_added_and_links_that_are_deleted_are_not_noticed(
    removals: Removals, node: Namespace
) -> None:
    """A link that goes down for its end, and loses its addresses, was not changed by anybody."""
    assert not removals.take()
    node.ip("link", "del", LINK)
    assert not removals.take()
    attach(node)
    assert not removals.take()
    node.ip("route", "replace", "10.1.0.1/32", "dev", LINK, "proto", "83")
    assert not removals.take()


def test_routes_of_others_are_not_noticed(removals: Removals, node: Namespace) -> None:
    node.ip("route", "add", "10.9.0.0/16", "dev", LINK)
    node.ip("route", "del", "10.9.0.0/16", "dev", LINK)
    assert not select.select([removals], [], [], 0)[0]


def test_buffer_overrun_counts_as_a_removal(node: Namespace) -> None:
    attach(node)
    with node.entered(), Removals(buffer=2048) as deaf:
        for _ in range(20):
            node.ip("link", "set", LINK, "down")
            node.ip("link", "set", LINK, "up")
        node.ip("link", "del", LINK)
        assert deaf.take()
