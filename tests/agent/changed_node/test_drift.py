"""What others change on the node's side of pods' links is made right, without an ADD and without the log."""

from __future__ import annotations

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests import kernel
from tests.cni.calling import pings, sh, until
from tests.cni.node import Node, Reachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cni.calling import Pod

#: Settings of the host's end, and of its neighbours.
SETTINGS = ("ipv6.conf.{}.disable_ipv6", "ipv6.conf.{}.accept_ra", "ipv4.neigh.{}.proxy_delay")


class Pods(NamedTuple):
    """Two pods of one node, with an address of each family. `link`: the host's end of the first one's."""

    node: Node
    pods: tuple[Pod, Pod]
    addresses: tuple[tuple[str, ...], tuple[str, ...]]
    link: str

    def state(self) -> tuple[Any, ...]:
        """What the node's side of the first link is."""
        node, link = self.node, self.link
        settings = [node.inside("sysctl", "-n", f"net.{one.format(link)}").stdout for one in SETTINGS]
        proxies = kernel.proxies(node.netns, link)
        return node.routes(), node.links()[link], node.addresses(link), proxies, settings

    def reach_each_other(self) -> bool:
        one, other = self.pods
        ours, theirs = self.addresses
        ways = [(one.netns, address) for address in theirs] + [(other.netns, address) for address in ours]
        return all(pings(netns, address) for netns, address in ways)


#: An agent that looks when the kernel tells, and every minute; and one that looks all the time.
TOLD, LOOKS = "told", "looks"


@pytest.fixture(scope="module", params=[TOLD, LOOKS])
def pods(
    request: pytest.FixtureRequest, namespaces: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pods]:
    """Their agent has lost its log."""
    directory = tmp_path_factory.mktemp("drift")
    with Reachable(directory / "nats") as nats, Node(directory / "node", nats, "drift") as node:
        node.hasty = request.param == LOOKS
        node.start().until_synced()
        both = node.pod(), node.pod()
        addresses = node.decided(both[0], *node.fresh()), node.decided(both[1], *node.fresh())
        node.until_read()
        link, _ = (node.added(pod)["interfaces"][0]["name"] for pod in both)
        nats.kill()
        until(lambda: node.fetches("readyz").startswith("503"), "the log is lost", node.log)
        yield Pods(node, both, addresses, link)


DRIFTS = [
    "ip route del {four}",
    "ip -6 route del {six}",
    "ip route flush proto 83",
    "ip -6 route flush proto 83",
    "ip link set {link} down",
    "ip link set {link} down; ip link set {link} up",
    "ip address del fe80::1/64 dev {link}",
    "sysctl -w net.ipv6.conf.{link}.disable_ipv6=1",
    "sysctl -w net.ipv6.conf.{link}.disable_ipv6=1; sysctl -w net.ipv6.conf.{link}.disable_ipv6=0",
    "sysctl -w net.ipv6.conf.all.disable_ipv6=1; sysctl -w net.ipv6.conf.all.disable_ipv6=0",
    "sysctl -w net.ipv4.conf.{link}.forwarding=0",
    "sysctl -w net.ipv4.conf.{link}.rp_filter=2",
]
#: Of which the kernel tells nobody.
SILENT = [
    "ip neigh del proxy 169.254.1.1 dev {link}",
    "ip route replace {four} dev eth0 proto 83",
    "sysctl -w net.ipv6.conf.{link}.accept_ra=1",
    "sysctl -w net.ipv4.neigh.{link}.proxy_delay=80",
]


@pytest.mark.parametrize(
    ("pods", "drift"),
    [(TOLD, drift) for drift in DRIFTS] + [(LOOKS, drift) for drift in DRIFTS + SILENT],
    indirect=["pods"],
)
def test_drift_is_mended_without_an_add_and_without_the_log(pods: Pods, drift: str) -> None:
    node = pods.node
    before, text = pods.state(), node.log()
    four, six = pods.addresses[0]
    done = node.inside("sh", "-ec", drift.format(link=pods.link, four=four, six=six))
    assert done.returncode == 0, done.stderr
    until(lambda: pods.state() == before, "it is mended", node.log)
    assert pods.reach_each_other()
    until(lambda: f"default/{pods.pods[0].name}" in node.log()[len(text) :], "it is logged", node.log)
    assert "was changed: mended" in node.log()[len(text) :]
    assert "romana_drift_mended_total{" in node.metrics()
    assert "links" not in node.fetches("readyz")


@pytest.mark.parametrize("pods", [LOOKS], indirect=True)
def test_gateway_answers_again(pods: Pods) -> None:
    """A pod that has lost its permanent neighbour entry needs the proxy on the node."""
    node, pod = pods.node, pods.pods[0]
    node.ip("neigh", "del", "proxy", "169.254.1.1", "dev", pods.link)
    until(lambda: kernel.proxies(node.netns, pods.link), "it is mended", node.log)
    sh("ip", "-n", pod.netns, "neigh", "flush", "dev", "eth0", "nud", "permanent")
    assert pings(pod.netns, node.address)


def test_what_is_in_the_way_is_told_and_left_alone(pods: Pods) -> None:
    node, (four, six) = pods.node, pods.addresses[0]
    node.ip("route", "replace", four, "dev", "eth0")
    node.ip("-6", "route", "del", six)  # it is told
    try:
        until(lambda: f"route to {four}: File exists" in node.fetches("readyz"), "it is told", node.log)
        assert kernel.route_to(node.netns, four).link == "eth0"  # type: ignore[union-attr]
    finally:
        node.ip("route", "del", four, "dev", "eth0")
        node.inside("ip", "route", "flush", "proto", "83")  # it is told
    until(lambda: node.routes().get(four) == pods.link, "it is mended", node.log)
    until(lambda: "links" not in node.fetches("readyz"), "nothing more is told", node.log)


def test_of_two_sandboxes_of_a_pod_the_newer_one_gets_the_routes(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    older, newer = node.pod("same"), node.pod("same")
    addresses = node.decided(older, *node.fresh())
    node.until_read()
    node.added(older)
    link = node.added(newer)["interfaces"][0]["name"]
    for _ in range(3):
        node.inside("sh", "-c", "ip route flush proto 83; ip -6 route flush proto 83")
        until(lambda: node.routes() == dict.fromkeys(addresses, link), "it is mended", node.log)
    assert all(pings(node.netns, address) for address in addresses)


def test_a_link_that_is_gone_is_told_and_not_made(own_node: Node) -> None:
    node = own_node
    node.hasty = True
    node.start().until_synced()
    gone, stays = node.pod(), node.pod()
    node.decided(gone, *node.fresh())
    four, _ = node.decided(stays, *node.fresh())
    node.until_read()
    link = node.added(gone)["interfaces"][0]["name"]
    node.added(stays)
    node.ip("link", "del", link)
    until(lambda: "the link of a sandbox is gone" in node.log(), "it is told", node.log)
    node.ip("route", "del", four)
    until(lambda: four in node.routes(), "the other one is mended", node.log)
    assert link not in node.links()
    assert node.log().count("the link of a sandbox is gone") == 1
    assert node.added(gone)["interfaces"][0]["name"] == link  # an ADD makes it
    node.delete(gone)


def test_pods_that_come_and_go_are_not_disturbed(own_node: Node) -> None:
    """Routes are flushed and a link is set down all the time, and the agent is killed in the middle."""
    node, chance = own_node, random.Random(3)
    node.hasty = True
    node.start().until_synced()
    stays, *churned = [node.pod() for _ in range(9)]
    addresses = {pod: node.fresh() for pod in (stays, *churned)}
    node.publish(*(node.assigned(pod, *both) for pod, both in addresses.items()))
    node.until_read()
    link = node.added(stays)["interfaces"][0]["name"]

    def routed(pod: Pod) -> bool:
        return any(node.ip("route", "show", address) for address in addresses[pod])

    def churn(pod: Pod) -> None:
        for _ in range(12):
            added = node.add(pod)
            assert added.code == 0 or added.json["code"] == 11, added
            until(lambda: node.call("DEL", pod).code == 0, "it is detached", node.log)
            until(lambda: not routed(pod), "it is done, also if the agent was away", node.log)

    with ThreadPoolExecutor(len(churned)) as threads:
        churning = [threads.submit(churn, pod) for pod in churned]
        for turn in itertools.count():
            node.inside("sh", "-c", "ip route flush proto 83; ip -6 route flush proto 83")
            if chance.random() < 0.3:
                node.ip("link", "set", link, "down")
            if turn == 20:
                node.restart(hasty=True)
            if all(each.done() for each in churning):
                break
        for each in churning:
            each.result()
    until(lambda: node.routes() == dict.fromkeys(addresses[stays], link), "it is mended", node.log)
    assert all(pings(node.netns, address) for address in addresses[stays])
    assert [each.container for each in node.attached()] == [stays.container]
    assert {name for name in node.links() if name.startswith("rb")} == {link}
    assert not any("eth0" in pod.links() for pod in churned)
    assert "Traceback" not in node.log()
