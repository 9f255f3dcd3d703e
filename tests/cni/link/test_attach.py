"""ADD and DEL on the real kernel: what a pod gets, and packets that arrive."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from romana_bus.cni.link import access
from romana_bus.netlink.socket import NetlinkError
from tests import kernel
from tests.cni.calling import execute, pings, sh
from tests.kernel import BOOT, Address, Neighbour, Route

if TYPE_CHECKING:
    from tests.cni.node import Node


@pytest.mark.parametrize("client", ["c", "python"])
def test_a_pod_gets_its_addresses_and_packets_arrive(node: Node, client: str) -> None:
    pod = node.pod()
    four, six = node.decided(pod, *node.fresh())
    result = node.added(pod, client=client)
    assert [one["address"] for one in result["ips"]] == [f"{four}/32", f"{six}/128"]
    assert [one["gateway"] for one in result["ips"]] == ["169.254.1.1", "fe80::1"]
    host, inside = result["interfaces"]
    assert (inside["name"], inside["sandbox"]) == ("eth0", pod.path)
    assert host["mtu"] == inside["mtu"] == 1450  # of the default route's link
    assert pings(node.netns, four)
    assert pings(node.netns, six)
    assert pings(pod.netns, node.address)
    assert node.routes()[four] == node.routes()[six] == host["name"]
    assert kernel.routes(pod.netns, BOOT) == [
        Route("unicast", "default", (("169.254.1.1", "eth0"),), 0, BOOT, "universe", "", by_object=False),
        Route("unicast", "169.254.1.1", (("", "eth0"),), 0, BOOT, "link", "", by_object=False),
        Route("unicast", "default", (("fe80::1", "eth0"),), 1024, BOOT, "universe", "", by_object=False),
    ]
    node.delete(pod, client=client)
    assert host["name"] not in node.links()
    assert not {four, six} & node.routes().keys()
    assert "eth0" not in pod.links()


def test_pods_of_one_node_reach_each_other(node: Node) -> None:
    one, other = node.pod(), node.pod()
    node.decided(one, *node.fresh())
    there = node.decided(other, *node.fresh())
    node.added(one)
    node.added(other)
    assert all(pings(one.netns, address) for address in there)


@pytest.mark.parametrize("family", [0, 1])
def test_a_pod_of_one_family(node: Node, family: int) -> None:
    pod = node.pod()
    (address,) = node.decided(pod, node.fresh()[family])
    result = node.added(pod)
    assert len(result["ips"]) == len(result["routes"]) == 1
    assert pings(node.netns, address)
    assert node.check(pod, result).code == 0
    host = result["interfaces"][0]["name"]
    wanted = {Address("fe80::1", 64, "link", usable=True)} if family else set()
    assert node.addresses(host) == wanted


def test_the_link_is_as_the_configuration_says(node: Node) -> None:
    pod = node.pod()
    node.decided(pod, *node.fresh())
    result = node.added(pod, mtu=1280, dns={"nameservers": ["10.0.0.10"]})
    assert result["dns"] == {"nameservers": ["10.0.0.10"]}
    host, inside = result["interfaces"]
    outer, inner = node.links()[host["name"]], pod.links()["eth0"]
    assert (inner.mtu, inner.mac) == (1280, inside["mac"])
    assert (outer.mtu, outer.mac) == (1280, host["mac"])
    assert outer.up
    assert inner.up
    assert (outer.peer, inner.peer) == (inner.ifindex, outer.ifindex)
    addresses = kernel.addresses(pod.netns, "eth0")
    # Nothing is tentative: a pod that starts can be reached at once.
    assert all(one.usable for one in addresses)
    assert {(one.address, one.length) for one in addresses if one.scope == "universe"} == {
        (address, int(length))
        for address, _, length in (one["address"].partition("/") for one in result["ips"])
    }
    neighbours = kernel.neighbours(pod.netns, "eth0")
    assert neighbours["169.254.1.1"] == neighbours["fe80::1"] == Neighbour(host["mac"], permanent=True)
    assert kernel.proxies(node.netns, host["name"]) == {"169.254.1.1"}
    assert (outer.forwarding, outer.rp_filter, outer.link_local) == (True, 1, False)
    for name, wanted in (("accept_dad", "0"), ("disable_ipv6", "0")):
        found = execute(pod.netns, "sysctl", "-n", f"net.ipv6.conf.eth0.{name}").stdout.strip()
        assert found == wanted, name
    assert node.inside("sysctl", "-n", "net.ipv4.ip_forward").stdout.strip() == "1"
    assert node.inside("sysctl", "-n", "net.ipv6.conf.all.forwarding").stdout.strip() == "1"


def test_proxy_answers_for_the_gateway_only(node: Node) -> None:
    """Not proxy ARP for every address: that hides mistakes, and took over a neighbour's (Romana's #182)."""
    pod = node.pod()
    node.decided(pod, node.fresh()[0])
    host = node.added(pod)["interfaces"][0]
    sh("ip", "-n", pod.netns, "neigh", "flush", "dev", "eth0", "nud", "permanent")
    assert pings(pod.netns, node.address)
    assert kernel.neighbours(pod.netns, "eth0")["169.254.1.1"].mac == host["mac"]
    for other in ("169.254.1.2", "8.8.8.8"):
        sh("ip", "-n", pod.netns, "route", "add", other, "dev", "eth0")
        assert not pings(pod.netns, other, within=1)
        neighbour = kernel.neighbours(pod.netns, "eth0").get(other)
        assert neighbour is None or neighbour.mac == ""
    assert node.inside("sysctl", "-n", f"net.ipv4.conf.{host['name']}.proxy_arp").stdout.strip() == "0"
    # The node's own network hears nothing of it: nobody has the address.
    assert "169.254.1.1" not in {one.address for one in node.addresses()}


def test_a_pod_reaches_its_node_where_that_has_no_default_route(node: Node) -> None:
    """The kernel answers for an address only where it has another way there; the pod needs no answer."""
    pod = node.pod()
    node.decided(pod, *node.fresh())
    node.ip("route", "del", "default")
    try:
        assert node.added(pod)["interfaces"][0]["mtu"] == 1500
        assert pings(pod.netns, node.address)
        assert pings(node.netns, node.added(pod)["ips"][1]["address"].partition("/")[0])
    finally:
        node.ip("route", "add", "default", "via", node.outside)


def test_strict_reverse_path_filters_drop_nothing_of_a_pod(node: Node) -> None:
    pod, other = node.pod(), node.pod()
    names = [f"net.ipv4.conf.{name}.rp_filter" for name in ("all", "default")]
    assert node.inside("sysctl", "-w", *(f"{name}=1" for name in names)).returncode == 0
    try:
        for one in (pod, other):
            node.decided(one, *node.fresh())
        node.added(pod)
        there = node.added(other)["ips"][0]["address"].partition("/")[0]
        assert pings(pod.netns, node.address)
        assert pings(pod.netns, there)
        assert pings(node.netns, there)
    finally:
        node.inside("sysctl", "-w", *(f"{name}=0" for name in names))


def test_spoofed_source_address_is_dropped(node: Node) -> None:
    pod = node.pod()
    node.decided(pod, node.fresh()[0])
    node.added(pod)
    sh("ip", "-n", pod.netns, "addr", "add", "10.77.200.1/32", "dev", "eth0")
    node.ip("route", "add", "10.77.200.1/32", "dev", "lo")
    assert execute(pod.netns, "ping", "-c1", "-W1", "-I", "10.77.200.1", node.address).returncode != 0
    assert pings(pod.netns, node.address)


def test_twenty_pods_at_once(node: Node) -> None:
    pods = [node.pod() for _ in range(20)]
    addresses = [node.decided(pod, *node.fresh()) for pod in pods]
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(node.add, pods))
    assert [answer.code for answer in answers] == [0] * 20, node.log()
    assert all(pings(node.netns, four) for four, _ in addresses)
    with ThreadPoolExecutor(20) as threads:
        list(threads.map(node.delete, pods))
    assert not {one for both in addresses for one in both} & node.routes().keys()


def test_the_same_pod_twice_at_once_gives_the_same_result(node: Node) -> None:
    pod = node.pod()
    four, _ = node.decided(pod, *node.fresh())
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: node.add(pod), range(4)))
    assert {answer.code for answer in answers} == {0}, answers
    assert len({answer.out for answer in answers}) == 1
    assert pings(node.netns, four)


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_result_matches_the_requested_cni_version(node: Node, version: str) -> None:
    pod = node.pod()
    node.decided(pod, *node.fresh())
    result = node.added(pod, cniVersion=version)
    assert result["cniVersion"] == version
    assert [one.get("version") for one in result["ips"]] == (
        ["4", "6"] if version == "0.4.0" else [None, None]
    )
    assert ["mtu" in one for one in result["interfaces"]] == [version == "1.1.0"] * 2
    assert node.check(pod, result, cniVersion=version).code == 0
    node.delete(pod, cniVersion=version)


def test_proxy_socket_without_an_answer_is_not_reused() -> None:
    """What comes late would be an answer to the next question."""
    with access.host_socket() as used:
        pass
    with pytest.raises(TimeoutError), access.host_socket():
        raise TimeoutError
    with access.host_socket() as fresh:
        assert fresh is not used
    with pytest.raises(NetlinkError), access.host_socket():
        raise NetlinkError(1, "the kernel said no")
    with access.host_socket() as same:
        assert same is fresh
