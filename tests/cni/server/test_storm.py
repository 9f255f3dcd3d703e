"""Two hundred calls at once, agents killed in between, and what is left when all of it is over: nothing."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from romana_bus.events import SandboxRemoved, SandboxRequested
from tests import kernel
from tests.cni.calling import pings, until

if TYPE_CHECKING:
    from tests.cni.calling import Answer, Pod
    from tests.cni.node import Node

PODS, CALLS, ROUNDS = 40, 200, 3


def test_two_hundred_calls_at_once_and_agents_that_are_killed(own_node: Node) -> None:
    """Half of the pods are static, so that the journal has a part in it."""
    node, chance = own_node, random.Random(7)
    node.start().until_synced()
    pods = [node.pod("", f"{number:032x}" if number % 2 else "") for number in range(PODS)]
    addresses = {pod: node.fresh() for pod in pods}
    node.publish(*(node.assigned(pod, *both) for pod, both in addresses.items()))
    node.until_read()
    results = {pod: node.added(pod) for pod in pods}

    def call(pod: Pod, command: str) -> Answer:
        return node.check(pod, results[pod]) if command == "CHECK" else node.call(command, pod)

    with ThreadPoolExecutor(CALLS) as threads:
        for _ in range(ROUNDS):
            commands = [(chance.choice(pods), chance.choice(["ADD", "DEL", "CHECK"])) for _ in range(CALLS)]
            calling = [threads.submit(call, *one) for one in commands]
            until(lambda: sum(one.done() for one in calling) > CALLS // 8, "they are served", node.log)  # noqa: B023
            node.kill()
            answers = [one.result() for one in calling]
            assert all(one.code == 0 or one.json["code"] in (11, 101) for one in answers), answers
            held_once(node, pods)
            node.start().until_synced()
            held_once(node, pods)
        answers = list(threads.map(node.add, pods))
    assert {one.code for one in answers} == {0}, answers
    assert [one.json for one in answers] == list(results.values())
    assert set(node.routes()) == {one for both in addresses.values() for one in both}
    assert all(pings(node.netns, six) for _, six in addresses.values())
    # In the end, half by DEL and half by GC, with one more death in between.
    with ThreadPoolExecutor(CALLS) as threads:
        deleting = [threads.submit(node.call, "DEL", pod) for pod in pods[::2]]
        until(lambda: any(one.done() for one in deleting), "they are served", node.log)
        node.restart(hasty=True).until_synced()
    for pod in pods[::2]:
        node.delete(pod)
    assert node.collect("cni.dev/valid-attachments", []).code == 0
    assert node.attached() == []
    assert node.routes() == {}
    assert not any(name.startswith("rb") for name in node.links())
    assert not any("eth0" in pod.links() for pod in pods)
    node.until_published()
    for pod in pods:
        published = [type(event) for event in node.history_of(pod)]
        assert published == [SandboxRequested, SandboxRemoved] * (len(published) // 2)


def held_once(node: Node, pods: list[Pod]) -> None:
    """No two sandboxes have one address, and each route leads to a link that is there."""
    seen: list[str] = []
    for pod in pods:
        seen += [one.address for one in kernel.addresses(pod.netns) if one.scope == "universe"]
    assert len(seen) == len(set(seen))
    links = node.links()
    assert all(links[link].kind == "veth" for link in node.routes().values())
