"""A log that is out of reach, or lost: pods and routes stay, and missed events are published later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.events import SandboxRemoved, SandboxRequested, Wired
from tests.cni.calling import pings, until
from tests.cni.kubelet import STATIC, addresses_in, start_requested

if TYPE_CHECKING:
    from tests.cni.node import Node


def test_pods_stop_without_the_log_and_removals_are_published_later(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pods = [node.pod(f"static{number}", f"{number:032x}") for number in range(3)]
    for pod in pods:
        node.decided(pod, *node.fresh())
        node.added(pod)
    ordinary = [node.pod() for _ in range(2)]
    for pod in ordinary:
        node.decided(pod, *node.fresh())
    node.until_read()  # else an ADD would request the address that is on its way
    for pod in ordinary:
        node.added(pod)
    node.until_published().until_knowing().nats.kill()
    for pod in (*pods[:2], ordinary[0]):
        node.delete(pod)
    assert len(node.journal()) == 2  # of an ordinary pod, there is nothing to tell
    node.restart(hasty=True)  # without the log
    for pod in (pods[2], ordinary[1]):
        node.delete(pod)
    node.call("STATUS").fails(50, "not in sync")
    assert len(node.journal()) == 4  # it cannot know what the log has
    node.nats.start()
    node.until_published().until_synced()
    for pod in pods:
        gone = node.newest_of(pod)
        assert isinstance(gone, SandboxRemoved)
        assert gone.sandbox == pod.container
    assert [node.history_of(pod) for pod in ordinary] == [[], []]
    report = until(lambda: node.newest(f"node.{node.name}.cni"), "what is wired is reported")
    assert isinstance(report, Wired)


def test_an_outage_is_said_once_and_makes_the_agent_unready(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    before = node.log().count("NATS connection")
    node.nats.kill()
    until(lambda: "out of reach for 4 s" in node.fetches("readyz"), "it is not ready", node.log)
    assert node.log().count("NATS connection") - before <= 2  # that it ended, and that nobody answers
    node.nats.start()
    until(lambda: node.fetches("readyz").startswith("ok"), "it is ready again", node.log)


def test_packets_flow_and_assigned_pods_start_without_the_log(own_node: Node) -> None:
    node = own_node
    node.placed(node.outside, "neighbour", ("10.77.16.0/28",))
    node.start().until_synced()
    until(lambda: node.blocks() == {"10.77.16.0/28"}, "the neighbour's block is routed", node.log)
    runs, decided, unknown = node.pod(), node.pod(), node.pod()
    old, _ = node.decided(runs, *node.fresh())
    node.added(runs)
    four, _ = node.decided(decided, *node.fresh())
    node.until_read()
    boots = node.boots("cni"), node.boots("routes")
    node.nats.kill()
    until(lambda: "romana_boots" in node.metrics(), "it lives")
    result = node.added(decided)
    assert pings(node.netns, four)
    assert pings(decided.netns, old)
    assert node.check(decided, result).code == 0
    assert node.blocks() == {"10.77.16.0/28"}
    assert node.status().code == 0  # the node stays Ready: what is wired forwards on
    node.add(unknown, timeout=0.5).fails(11, f"default/{unknown.name}", "the log is out of reach")
    node.nats.start()
    node.until_published()
    assert node.history_of(unknown) == []  # of what was asked for and is not any more
    node.decided(unknown, *node.fresh())
    node.placed(node.outside, "neighbour", ("10.77.17.0/28",))
    until(lambda: node.blocks() == {"10.77.16.0/28", "10.77.17.0/28"}, "it goes on", node.log)
    node.added(unknown)
    assert (node.boots("cni"), node.boots("routes")) == boots  # from where it was


def test_pods_and_routes_stay_when_the_log_was_lost(own_node: Node) -> None:
    node = own_node
    neighbour = ("10.77.16.0/28", "10.77.17.0/28")
    node.placed(node.outside, "neighbour", neighbour)
    node.start().until_synced()
    until(lambda: node.blocks() == set(neighbour), "the neighbour's blocks are routed", node.log)
    pods = [node.pod() for _ in range(2)]
    addresses = [node.decided(pod, *node.fresh()) for pod in pods]
    results = [node.added(pod) for pod in pods]
    node.nats.lose_store()
    node.nats.start()
    for consumer in ("cni", "routes"):
        until(lambda: node.boots(consumer, "rewound"), "it begins anew", node.log)  # noqa: B023
    node.publish()  # those who watch and decide make the log anew; agents don't
    until(lambda: not node.fetches("readyz").startswith("503"), "it follows the new log", node.log)
    assert node.call("STATUS").code == 0  # all nodes would be NotReady for what forwarding survives
    assert node.blocks() == set(neighbour)
    assert set(node.routes()) == {one for both in addresses for one in both}
    assert [node.check(pod, result).code for pod, result in zip(pods, results, strict=True)] == [0, 0]
    assert pings(pods[0].netns, addresses[1][0])
    node.delete(pods[1])
    node.placed(node.address)
    node.placed(node.outside, "neighbour", neighbour[:1])
    until(lambda: node.blocks() == set(neighbour[:1]), "what the new log does not know goes", node.log)
    node.until_synced()
    assert pings(node.netns, addresses[0][0])


@pytest.mark.parametrize("lives", [True, False])
def test_running_static_pods_are_requested_again_when_the_log_was_lost(own_node: Node, lives: bool) -> None:
    """Or it would give their addresses to others. Of two sandboxes of a pod, of the newer one, in whatever
    order their names are."""
    node = own_node
    node.start().until_synced()
    pods = [node.pod("static", STATIC) for _ in range(3)]
    pods = [pods[1], pods[2], pods[0]]
    node.decided(pods[0], *node.fresh())
    node.until_read()
    for pod in pods:
        node.added(pod)
    node.until_published()
    assert [one.sandbox for one in node.history_of(pods[0])] == [pods[0].container]
    if not lives:
        node.kill()
    node.nats.lose_store()
    if not lives:
        node.start()
    node.nats.start()
    node.placed(node.address)
    asked = until(lambda: node.newest_of(pods[2]), "the new log has its wish", node.log)
    assert isinstance(asked, SandboxRequested)
    assert (asked.uid, asked.sandbox) == (STATIC, pods[2].container)


def test_removal_of_an_old_sandbox_is_not_published_after_the_request_of_its_successor(
    own_node: Node,
) -> None:
    """A static pod's sandbox is replaced without the log: its address and its request stay."""
    node = own_node
    node.start().until_synced()
    old, first = start_requested(node)
    node.nats.kill()
    new = node.pod("static")
    node.delete(old)
    four, six = addresses_in(first)
    again = node.added(new)
    assert [one["address"] for one in again["ips"]] == [f"{four}/32", f"{six}/128"]
    node.nats.start()
    node.until_published()
    request = node.newest_of(new)
    assert isinstance(request, SandboxRequested)
    node.delete(old)  # once more, late
    node.until_published()
    assert node.history_of(new) == [request]


def test_new_sandbox_of_a_static_pod_waits_for_the_addresses_of_the_old_one(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    old, _ = start_requested(node)
    node.delete(old)
    until(lambda: isinstance(node.newest_of(old), SandboxRemoved), "it was given back")
    start_requested(node)  # with the addresses that are decided then


def test_a_static_pod_starts_again_after_a_restart_without_the_log(own_node: Node) -> None:
    """The agent that goes on has only the journal to know that its old sandbox had asked for the address."""
    node = own_node
    node.start().until_synced()
    old, first = start_requested(node)
    node.kill()
    node.start().until_synced()
    node.nats.kill()
    node.delete(old)
    new = node.pod("static")
    assert set(addresses_in(node.added(new))) == set(addresses_in(first))
    node.nats.start()
    node.until_published()
    assert [type(one) for one in node.history_of(new)] == [SandboxRequested]
