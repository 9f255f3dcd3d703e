"""A second interface of one sandbox, as Multus asks for it: refused, and the first one is not touched."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.cni.server.attachments import Attachment, Attachments
from romana_bus.cni.spec import Attached
from romana_bus.cni.spec import Pod as SpecPod
from romana_bus.events import SandboxRemoved, SandboxRequested
from tests import kernel
from tests.cni.calling import pings, until
from tests.cni.kubelet import STATIC, addresses_in, history, until_ended

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cni.calling import Pod
    from tests.cni.node import Node

REFUSED = (4, "CNI_IFNAME net1", "already has eth0", "k8s.v1.cni.cncf.io/networks")


def state(node: Node, pod: Pod) -> list[Any]:
    """All that the pod, its node and its agent have."""
    ours = [kernel.addresses(pod.netns), kernel.routes(pod.netns), kernel.neighbours(pod.netns, "eth0")]
    return [pod.links(), *ours, node.links(), node.addresses(), node.routes(), node.attached()]


def reached(node: Node, pod: Pod, addresses: tuple[str, ...]) -> bool:
    there = node.addresses("eth0")
    back = [each.address for each in there if each.scope == "universe"]
    return all(pings(node.netns, address) for address in addresses) and all(
        pings(pod.netns, address) for address in back
    )


@pytest.mark.parametrize("network", ["pods", "another"])
def test_refused_and_the_first_one_is_not_touched(node: Node, network: str) -> None:
    pod = node.pod("", STATIC)
    second = pod._replace(ifname="net1")
    addresses = node.decided(pod, *node.fresh())
    result = node.added(pod)
    node.until_published()
    before = state(node, pod)
    for _ in range(2):
        node.add(second, name=network).fails(*REFUSED)
        assert state(node, pod) == before
    node.check(second, result, name=network).fails(7, "net1")
    node.delete(second, name=network)
    valid = [{"containerID": each.container, "ifname": "eth0"} for each in node.attached()]
    assert node.collect("cni.dev/valid-attachments", valid).code == 0
    assert state(node, pod) == before
    assert node.check(pod, result).code == 0
    assert reached(node, pod, addresses)
    node.until_published()
    assert history(node, pod) == [SandboxRequested]
    node.delete(pod)
    node.delete(second, name=network)
    until_ended(node, pod)


def test_of_two_at_once_one_is_attached_whole(node: Node) -> None:
    pod = node.pod()
    both = pod, pod._replace(ifname="net1")
    addresses = node.decided(pod, *node.fresh())
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(node.add, both))
    assert sorted(answer.code for answer in answers) == [0, 1], answers
    (attached,) = (each for each, answer in zip(both, answers, strict=True) if answer.code == 0)
    (other,) = {*both} - {attached}
    node.delete(other)
    assert {*pod.links()} == {"lo", attached.ifname}
    assert reached(node, pod, addresses)
    node.delete(attached)
    assert not {*addresses} & {*node.routes()}


def test_second_one_waits_for_the_first_one_s_address(node: Node) -> None:
    """It is refused if the first one gets one, and takes its place if not."""
    pod = node.pod()
    second = pod._replace(ifname="net1")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(node.add, pod)
        until(lambda: node.newest_of(pod), "it is asked for", node.log)
        refused = threads.submit(node.add, second)
        addresses = node.decided(pod, *node.fresh())
        assert addresses_in(first.result().json) == [*addresses]
        refused.result().fails(*REFUSED)
    assert reached(node, pod, addresses)
    node.delete(second)
    node.delete(pod)
    node.released(pod)
    until(lambda: node.add(pod, timeout=0).code, "its addresses are gone", node.log)
    node.decided(pod, *node.fresh())
    until(lambda: node.add(second).code == 0, "there is no first one", node.log)
    node.delete(second)


def test_network_that_is_renamed_is_detached_whole(node: Node) -> None:
    pod = node.pod("", STATIC)
    addresses = node.decided(pod, *node.fresh())
    node.added(pod, name="before")
    assert node.added(pod, name="after")["ips"]  # a runtime that asks again
    assert reached(node, pod, addresses)
    until(lambda: history(node, pod) == [SandboxRequested], "its request is on the log", node.log)
    node.delete(pod, name="renamed")
    assert pod.container not in {each.container for each in node.attached()}
    assert {*pod.links()} == {"lo"}
    until(lambda: history(node, pod)[-1] is SandboxRemoved, "its end is on the log", node.log)
    another = node.pod()
    node.decided(another, *addresses)
    node.added(another, name="renamed")
    assert reached(node, another, addresses)


def test_interface_has_one_file(tmp_path: Path) -> None:
    attached = Attached("one", "eth0")

    def put(directory: Path, network: str) -> list[Path]:
        pod, addresses = SpecPod("default", "web", "uid"), ("10.0.0.1",)
        made = Attachment(network=network, attached=attached, netns="/n", pod=pod, addresses=addresses)
        Attachments(directory).put(made)
        return [*directory.iterdir()]

    (older,) = put(tmp_path / "both", "before")
    (renamed,) = put(tmp_path / "both", "after")
    assert older != renamed
    older.write_bytes(put(tmp_path / "other", "before")[0].read_bytes())  # by an older agent
    os.utime(older, (1, 1))
    attachments = Attachments(tmp_path / "both")
    assert [each.network for each in attachments] == ["after"]
    assert [*(tmp_path / "both").iterdir()] == [renamed]
    attachments.drop(attached)
    attachments.drop(attached)
    assert [*(tmp_path / "both").iterdir()] == [*attachments] == []
