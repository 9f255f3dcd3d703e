"""What others have set up on a node and what keeps packets of pods from their ways: told, with a remedy that
ends it. The agent changes nothing of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from romana_bus.events import NodeChecked
from tests.cni.calling import pings, until

if TYPE_CHECKING:
    from tests.cni.calling import Pod
    from tests.cni.node import Node


def two_pods(node: Node) -> tuple[Pod, str]:
    """One, and the IPv4 address of another."""
    first, second = node.pod(), node.pod()
    node.decided(first, *node.fresh())
    address, _ = node.decided(second, *node.fresh())
    node.until_read()
    for pod in (first, second):
        node.added(pod)
    return first, address


def reported(node: Node) -> NodeChecked | None:
    report = node.newest(f"node.{node.name}.node")
    assert report is None or isinstance(report, NodeChecked)
    return report


def until_told(node: Node, *texts: str) -> list[str]:
    """Until exactly these problems, by their beginnings, are on the log; gives them whole."""
    found: list[str] = []

    def told() -> bool:
        report = reported(node)
        found[:] = report.problems if report else ["not yet"]
        return [text[: len(begins)] for text, begins in zip(found, texts, strict=False)] == [*texts] and len(
            found
        ) == len(texts)

    until(told, f"told: {texts}", node.log)
    return found


def remedied(node: Node, problem: str) -> None:
    """Done what the text says."""
    done = node.inside("sh", "-ec", problem.partition(": ")[2].partition(": ")[2])
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("nft"), reason="no `nft` here: apt-get install nftables")
def test_firewall_that_drops_packets_of_pods(own_node: Node) -> None:
    node = own_node
    node.hasty = True
    node.start().until_synced()
    pod, other = two_pods(node)
    until_told(node)
    assert pings(pod.netns, other)
    policy = "table inet t { chain forwards { type filter hook forward priority 0; policy drop; }; }"
    assert node.inside("nft", policy.replace("table", "add table", 1)).returncode == 0
    assert not pings(pod.netns, other, within=1)
    [problem] = until_told(node, "the policy of the nftables chain inet t forwards is drop")
    assert f"warning: {problem}" in node.fetches("readyz")
    assert node.fetches("readyz").startswith("ok\n")
    assert node.status().code == 0
    remedied(node, problem)
    assert pings(pod.netns, other)
    until_told(node)
    assert "is drop" not in node.fetches("readyz")
    assert "policy drop" in node.inside("nft", "list ruleset").stdout


def test_rule_before_the_main_table_is_noticed_at_once(own_node: Node) -> None:
    """Of an agent that looks once a minute."""
    node = own_node
    node.start().until_synced()
    pod, other = two_pods(node)
    until_told(node)
    node.ip("route", "add", "default", "via", node.outside, "table", "100")
    node.ip("rule", "add", "lookup", "100", "pref", "100")
    assert not pings(pod.netns, other, within=1)
    [problem] = until_told(
        node, "ip rule 100 (from all lookup 100) comes before the main table: packets to pods"
    )
    remedied(node, problem)
    assert pings(pod.netns, other)
    until_told(node)
    assert "100:	from all lookup 100" in node.ip("rule")


def test_sysctls_and_a_missing_default_route_are_reported(own_node: Node) -> None:
    node = own_node
    node.hasty = True
    assert node.inside("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=2").returncode == 0
    node.start("--sysctl", "tell")
    until_told(node, "net.ipv4.ip_forward is 0", "net.ipv4.conf.all.rp_filter is 2")

    def noted(*texts: str) -> bool:
        report = reported(node)
        return report is not None and [note.partition(":")[0] for note in report.notes] == [*texts]

    six, four = "no IPv6 default route", "no IPv4 default route"
    until(lambda: noted(six), "the route is missing", node.log)
    node.ip("route", "del", "default")
    until(lambda: noted(four, six), "both routes are missing", node.log)
    assert f"warning: {four}: pods cannot reach" in node.fetches("readyz")
    node.ip("route", "add", "default", "via", node.outside)
    until(lambda: noted(six), "one is back", node.log)
