"""The node's sysctls on which pods depend: set again, or told in STATUS, /readyz and the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cni.calling import until

if TYPE_CHECKING:
    from tests.cni.node import Node

FORWARD = {"ipv4.ip_forward": "1", "ipv6.conf.all.forwarding": "1"}
LOOSE = "ipv4.conf.all.rp_filter"
#: A shell in which /proc/sys is read-only, as in a container.
READ_ONLY = ("unshare", "-m", "sh", "-ec", 'mount -o bind,ro /proc/sys /proc/sys; exec "$@"', "sh")


def get(node: Node, name: str) -> str:
    return node.inside("sysctl", "-n", f"net.{name}").stdout.strip()


def change(node: Node, name: str, value: str) -> None:
    assert node.inside("sysctl", "-qw", f"net.{name}={value}").returncode == 0


def pod_of_both_families(node: Node) -> None:
    pod = node.pod()
    node.decided(pod, *node.fresh())
    node.until_read()
    node.added(pod)


def test_forwarding_is_set_again(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pod_of_both_families(node)
    for name, value in FORWARD.items():
        change(node, name, "0")
        until(lambda: get(node, name) == value, f"{name} is set", node.log)  # noqa: B023
        until(lambda: f"net.{name}" in node.log(), "it is logged", node.log)  # noqa: B023
    assert 'romana_drift_mended_total{what="sysctl"} 2.0' in node.metrics()
    assert "the link of a pod was changed" not in node.log()  # with it, the kernel sets every link's
    assert node.status().code == 0


def test_a_loose_filter_stays_with_the_links_that_are_not_ours(own_node: Node) -> None:
    node = own_node
    change(node, "ipv4.conf.eth0.rp_filter", "1")
    change(node, LOOSE, "1")
    node.start().until_synced()
    pod_of_both_families(node)
    assert get(node, LOOSE) == get(node, "ipv4.conf.eth0.rp_filter") == "1"
    change(node, LOOSE, "2")
    until(lambda: get(node, LOOSE) == "0", "it is set", node.log)
    assert get(node, "ipv4.conf.eth0.rp_filter") == get(node, "ipv4.conf.default.rp_filter") == "2"
    assert [link.rp_filter for name, link in node.links().items() if name.startswith("rb")] == [1]


def test_sysctls_are_told_and_nothing_is_set(own_node: Node) -> None:
    node = own_node
    for name in FORWARD:
        change(node, name, "0")
    change(node, LOOSE, "2")
    node.start("--sysctl", "tell")
    until(lambda: "net.ipv4.ip_forward is 0" in node.status().out, "it is told", node.log)
    node.status().fails(50, "net.ipv4.ip_forward is 0", "set it to 1")
    assert get(node, "ipv4.ip_forward") == "0"
    assert get(node, LOOSE) == "2"
    assert "sysctls: net.ipv4.ip_forward is 0" in node.fetches("readyz")
    assert "warning: net.ipv4.conf.all.rp_filter is 2" in node.fetches("readyz")
    change(node, "ipv4.ip_forward", "1")
    until(lambda: node.status().code == 0, "it is right again", node.log)
    pod_of_both_families(node)  # from now on, IPv6 matters
    node.status().fails(50, "net.ipv6.conf.all.forwarding is 0", "IPv6")
    change(node, "ipv6.conf.all.forwarding", "1")
    change(node, LOOSE, "0")
    until(lambda: node.status().code == 0, "it is right again", node.log)
    until(lambda: node.fetches("readyz").startswith("ok\n"), "the agent is ready", node.log)
    until(lambda: "warning: net" not in node.fetches("readyz"), "no warning is left", node.log)
    assert "a sysctl is wrong" in node.log()
    assert "a sysctl is right again" in node.log()


@pytest.mark.parametrize("forwards", ["0", "1"])
def test_read_only_sysctls_are_told(own_node: Node, forwards: str) -> None:
    node = own_node
    change(node, "ipv4.ip_forward", forwards)
    node.start(behind=READ_ONLY)
    until(lambda: "proc/sys is read-only" in node.status().out, "it is told", node.log)
    cannot = "net.ipv4.ip_forward is 0: packets of pods are not forwarded, and it cannot be set to 1"
    assert (cannot in node.status().out) == (forwards == "0")
    assert "/proc/sys is read-only" in node.fetches("readyz")


def test_only_set_and_tell_are_known(own_node: Node) -> None:
    done = own_node.inside(*own_node.command("--sysctl", "maybe"))
    assert done.returncode == 2
    assert "maybe" in done.stderr
