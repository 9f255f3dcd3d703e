"""The commands where something is missing, was half done, or is done again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.events import SandboxRemoved, SandboxRequested, Wired
from tests import kernel
from tests.cni.calling import execute, pings, sh, until
from tests.cni.kubelet import STATIC

if TYPE_CHECKING:
    from tests.cni.calling import Answer, Pod
    from tests.cni.node import Node


def wired(node: Node, pod: Pod) -> Any:
    node.decided(pod, *node.fresh())
    return node.added(pod)


# --- ADD ------------------------------------------------------------------------------------------------


def test_a_repeated_add_gives_the_same_result_and_changes_nothing(node: Node) -> None:
    pod = node.pod()
    result = wired(node, pod)
    before = configured(pod)
    assert node.added(pod) == result
    assert configured(pod) == before


def configured(pod: Pod) -> tuple[object, ...]:
    """Its links, their addresses and its routes."""
    return pod.links(), kernel.addresses(pod.netns), kernel.routes(pod.netns)


@pytest.mark.parametrize(
    "harm",
    [
        ("ip", "route", "del", "default"),
        ("ip", "addr", "flush", "dev", "eth0", "scope", "global"),
        ("ip", "link", "del", "eth0"),
    ],
)
def test_repeated_add_repairs_a_partial_attachment(node: Node, harm: tuple[str, ...]) -> None:
    pod = node.pod()
    result = wired(node, pod)
    assert execute(pod.netns, *harm).returncode == 0
    assert node.added(pod) == result
    assert node.check(pod, result).code == 0
    assert pings(node.netns, result["ips"][0]["address"].partition("/")[0])


def test_link_left_by_an_earlier_attempt_is_replaced(node: Node) -> None:
    pod = node.pod()
    result = wired(node, pod)
    host = result["interfaces"][0]["name"]
    node.delete(pod)
    node.ip("link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", pod.netns)
    assert node.added(pod) == result
    assert node.check(pod, result).code == 0


def test_a_foreign_interface_of_that_name_stays(node: Node) -> None:
    pod = node.pod()
    node.decided(pod, *node.fresh())
    sh("ip", "-n", pod.netns, "link", "add", "eth0", "type", "bridge")
    node.add(pod).fails(100, "the pod already has an interface eth0")
    assert pod.links()["eth0"].kind == "bridge"
    assert pod.container not in "".join(one.read_text() for one in node.run_dir.glob("attachments/*"))


def test_a_foreign_route_to_the_address_stays(node: Node) -> None:
    pod, (four, _) = node.pod(), node.fresh()
    node.decided(pod, four)
    node.ip("route", "add", f"{four}/32", "dev", "eth0", "proto", "99")
    node.add(pod).fails(100, four, "protocol 99")
    (stays,) = kernel.routes(node.netns, 99)
    assert (stays.destination, stays.link) == (four, "eth0")
    assert "eth0" not in pod.links()
    node.ip("route", "del", f"{four}/32", "dev", "eth0", "proto", "99")


def test_add_requests_an_address_and_waits_for_it(node: Node) -> None:
    pod, (four, six) = node.pod(), node.fresh()
    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(node.added, pod)
        until(lambda: node.newest_of(pod), "it is asked for")
        node.decided(pod, four, six)
        assert [one["address"] for one in adding.result()["ips"]] == [f"{four}/32", f"{six}/128"]
    asked = node.newest_of(pod)
    assert isinstance(asked, SandboxRequested)
    assert (asked.node, asked.uid, asked.sandbox) == (node.name, pod.uid, pod.container)
    node.delete(pod)
    gone = until(lambda: _removed(node, pod), "the removal is on the log")
    assert gone.sandbox == pod.container


def _removed(node: Node, pod: Pod) -> SandboxRemoved | None:
    found = node.newest_of(pod)
    return found if isinstance(found, SandboxRemoved) else None


def test_add_that_timed_out_can_be_retried(node: Node) -> None:
    pod = node.pod()
    node.add(pod, timeout=0.5).fails(11, f"default/{pod.name}", "nothing was decided")
    node.decided(pod, *node.fresh())
    node.added(pod)


def test_denial_reason_is_in_the_cni_error(node: Node) -> None:
    pod = node.pod()
    node.denied(pod, "net: every address of its group is in use")
    node.add(pod, timeout=0.5).fails(11, "every address of its group is in use")


def test_address_of_an_earlier_pod_of_the_name_is_not_used(node: Node) -> None:
    pod = node.pod("web", uid="one")
    node.decided(pod, *node.fresh())
    other = node.pod("web", uid="two")
    node.add(other, timeout=0.5).fails(11)
    node.added(pod)
    node.delete(pod)


def test_released_address_is_not_used_again_for_its_pod(node: Node) -> None:
    pod = node.pod()
    wired(node, pod)
    node.released(pod)
    until(lambda: node.add(pod, timeout=0.2).code, "it is noticed")
    assert "eth0" not in pod.links()


def test_runtime_without_a_uid_gets_the_address_of_the_name(node: Node) -> None:
    pod = node.pod()
    node.decided(pod, *node.fresh())
    anonymous = pod._replace(uid="")
    node.added(anonymous)


@pytest.mark.parametrize("path", ["/run/netns/none-of-ours", "/etc/hostname", "/proc/1/ns/mnt"])
def test_path_that_is_not_a_network_namespace_is_refused(node: Node, path: str) -> None:
    pod = node.pod()
    node.decided(pod, *node.fresh())
    links = node.links()
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_PATH": "/x",
        "CNI_CONTAINERID": pod.container,
        "CNI_NETNS": path,
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": pod.arguments,
    }
    node.invoke(environment).fails(8, path)
    assert node.links() == links


def test_the_node_s_own_namespace_is_refused(node: Node) -> None:
    pod = node.pod()
    node.decided(pod, *node.fresh())
    own = pod._replace(netns=node.netns)
    node.add(own).fails(8, "own network namespace")


# --- DEL ------------------------------------------------------------------------------------------------


def test_del_of_a_missing_container_succeeds(node: Node) -> None:
    pod = node.pod()
    node.decided(pod, *node.fresh())
    node.until_read()
    node.added(pod)
    node.delete(pod)
    node.delete(pod)
    node.delete(node.pod())
    without = pod._replace(netns="no-such-namespace")
    node.delete(without)
    assert node.history_of(pod) == []  # nothing was asked for


def test_del_without_its_namespace_takes_the_links_and_routes(node: Node) -> None:
    pod = node.pod()
    result = wired(node, pod)
    sh("ip", "netns", "del", pod.netns)
    node.delete(pod)
    assert result["interfaces"][0]["name"] not in node.links()
    assert result["ips"][0]["address"].partition("/")[0] not in node.routes()


def test_del_of_an_old_sandbox_keeps_the_newer_one(node: Node) -> None:
    old = node.pod("stays")
    result = wired(node, old)
    new = node.pod("stays")
    again = node.added(new)
    assert again["ips"][0]["address"] == result["ips"][0]["address"]
    four, six = (one["address"].partition("/")[0] for one in again["ips"])
    assert node.routes()[four] == node.routes()[six] == again["interfaces"][0]["name"]
    node.check(old, result).fails(101, four)
    node.delete(old)
    assert node.check(new, again).code == 0
    assert pings(node.netns, four)
    assert pings(node.netns, six)


# --- CHECK ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "harm", "said"),
    [
        (True, "ip route del default", "no route to 0.0.0.0/0"),
        (True, "ip -6 route del default", "no route to ::/0"),
        (True, "ip route del 169.254.1.1", "no route to"),
        (True, "ip addr flush dev eth0 scope global", "eth0 has no 10.77."),
        (True, "ip link set eth0 down", "eth0 of the pod is down"),
        (True, "ip link set eth0 address 02:00:00:00:00:01", "has the address 02:00:00:00:00:01"),
        (True, "ip link del eth0", "eth0 is missing"),
        (False, "ip route del FOUR", "the node has no route to 10.77."),
        (False, "ip -6 route del SIX", "the node has no route to fd77:"),
        (False, "ip link set HOST down", "of the node is down"),
    ],
)
def test_check_reports_missing_state(node: Node, inside: bool, harm: str, said: str) -> None:
    pod = node.pod()
    result = wired(node, pod)
    assert node.check(pod, result) == (0, "", "")
    four, six = (one["address"].partition("/")[0] for one in result["ips"])
    for word, text in (("FOUR", four), ("SIX", six), ("HOST", result["interfaces"][0]["name"])):
        harm = harm.replace(word, text)

    def reported() -> Answer | None:
        """The agent may have mended its node's side before CHECK looks."""
        done = execute(pod.netns if inside else node.netns, *harm.split())
        assert done.returncode == 0, done
        answer = node.check(pod, result)
        return answer if answer.code else None

    until(reported, "CHECK reports it", node.log).fails(101, said)


def test_check_lets_a_later_plugin_change_routes(node: Node) -> None:
    pod = node.pod()
    result = wired(node, pod)
    sh("ip", "-n", pod.netns, "-6", "route", "del", "default")
    result["routes"] = [one for one in result["routes"] if one["dst"] != "::/0"]
    assert node.check(pod, result).code == 0


def test_check_lets_a_later_plugin_change_the_hardware_address(node: Node) -> None:
    """As `tuning` does, which says so in the result."""
    pod = node.pod()
    result = wired(node, pod)
    sh("ip", "-n", pod.netns, "link", "set", "eth0", "address", "02:00:00:00:00:0a")
    result["interfaces"][1]["mac"] = "02:00:00:00:00:0A"
    assert node.check(pod, result).code == 0


def test_check_reports_an_address_that_is_no_longer_assigned(node: Node) -> None:
    pod = node.pod()
    result = wired(node, pod)
    other = node.decided(pod, *node.fresh())
    until(lambda: node.check(pod, result).code, "it is noticed")
    node.check(pod, result).fails(101, other[0])


def test_check_without_the_result_is_refused(node: Node) -> None:
    pod = node.pod()
    wired(node, pod)
    node.call("CHECK", pod).fails(7, "prevResult")


# --- GC, STATUS, reports --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc_removes_invalid_attachments_of_its_network_only(node: Node, key: str) -> None:
    stale, valid, elsewhere = node.pod("", STATIC), node.pod(), node.pod()
    for pod in (stale, valid):
        wired(node, pod)
    node.decided(elsewhere, *node.fresh())
    node.added(elsewhere, name="another")
    kept = {
        (one.network, one.container)
        for one in node.attached()
        if (one.network, one.container) != ("pods", stale.container)
    }
    attachments = [
        {"containerID": container, "ifname": "eth0"}
        for network, container in sorted(kept)
        if network == "pods"
    ]
    answer = node.collect(key, attachments)
    assert answer == (0, "", "")
    assert {(one.network, one.container) for one in node.attached()} == kept
    gone = until(lambda: _removed(node, stale), "the removal is on the log")
    assert gone.sandbox == stale.container
    assert "eth0" not in stale.links()
    assert "eth0" in valid.links()
    node.delete(elsewhere, name="another")


def test_gc_without_a_list_removes_nothing(node: Node) -> None:
    pod = node.pod()
    wired(node, pod)
    node.call("GC").fails(7, "valid-attachments")
    assert "eth0" in pod.links()


def test_attached_addresses_are_reported_with_their_pods(node: Node) -> None:
    pod = node.pod()
    result = wired(node, pod)
    four, six = (one["address"].partition("/")[0] for one in result["ips"])

    def report() -> Any:
        found = node.newest(f"node.{node.name}.cni")
        return found if isinstance(found, Wired) and four in found.addresses else None

    found = until(report, "a report with the pod", node.log)
    assert found.addresses[four] == found.addresses[six] == f"default/{pod.name}"
    assert found.covers["IPAM"] > 0
    node.delete(pod)
    until(lambda: report() is None, "a report without it")


def test_calls_are_counted_by_result(node: Node) -> None:
    pod = node.pod()
    wired(node, pod)
    node.call("CHECK", pod).fails(7)
    lines = node.metrics()
    assert 'romana_cni_calls_total{command="ADD",outcome="0"}' in lines
    assert 'outcome="7"' in lines
    assert 'romana_cni_seconds_count{command="ADD"}' in lines
