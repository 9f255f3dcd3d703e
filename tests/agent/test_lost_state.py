"""An agent that is killed, a node that reboots, and files, disks and logs that are lost: no end is.

Agents here hold back what they hold back for longer than a test takes, unless they are `hasty`.
"""

from __future__ import annotations

import contextlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from romana_bus.events import SandboxRequested
from tests.cni.calling import pings, sh, until
from tests.cni.disks import fill, remount, small
from tests.cni.kubelet import (
    STATIC,
    addresses_in,
    asked,
    fails,
    history,
    start_decided,
    try_of,
    try_until_asked,
    until_ended,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cni.calling import Pod
    from tests.cni.node import Node


def test_agent_killed_while_a_pod_waits(own_node: Node) -> None:
    """Without a DEL, ever. After the restart no caller waits."""
    node = own_node
    node.start().until_synced()
    pod = node.pod()
    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(node.add, pod)
        until(lambda: node.newest_of(pod), "it is asked for", node.log)
        node.restart()
        adding.result().fails(11)
    assert not node.attached()
    fails(node, pod)
    assert history(node, pod) == [SandboxRequested]
    node.restart(hasty=True)
    until_ended(node, pod)


@pytest.mark.parametrize("kills", [False, True])
def test_agent_killed_between_add_and_del(own_node: Node, kills: bool) -> None:
    node = own_node
    node.start().until_synced()
    pod, _ = start_decided(node)
    node.restart().until_synced()
    node.delete(pod)
    if kills:
        node.restart(hasty=True)  # what found its way to the disk, or to the log, is not lost
    until_ended(node, pod)


@contextlib.contextmanager
def rebooted(node: Node, *pods: Pod) -> Iterator[None]:
    """Its agent comes up as after a power cut: there are no pods, and nothing that RUN_DIR had."""
    node.kill()
    for pod in pods:
        sh("ip", "netns", "del", pod.netns)
    shutil.rmtree(node.run_dir)
    yield
    node.start()


@pytest.mark.parametrize("removed", [False, True])
def test_sandbox_requests_end_after_a_reboot(own_node: Node, removed: bool) -> None:
    """With a DEL for an unknown container, and without any DEL."""
    node = own_node
    node.start().until_synced()
    pod, _ = start_decided(node)
    with rebooted(node, pod):
        node.hasty = not removed
    if removed:
        node.delete(pod)
        node.restart(hasty=True)
    until_ended(node, pod)


def test_pod_that_starts_again_after_a_reboot_keeps_its_addresses(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    old, result = start_decided(node)
    new = node.pod("static", STATIC)
    with rebooted(node, old):
        pass
    node.until_synced()
    node.delete(old)
    assert node.added(new)["ips"] == result["ips"]
    node.delete(old)
    node.until_published()
    node.restart(hasty=True).until_synced().until_knowing()
    assert history(node, new) == [SandboxRequested]


def test_a_pod_whose_file_was_lost_keeps_its_address(own_node: Node) -> None:
    """RUN_DIR was emptied while the pod runs."""
    node = own_node
    node.start().until_synced()
    pod, result = start_decided(node)
    four, _ = addresses_in(result)
    node.kill()
    shutil.rmtree(node.run_dir / "attachments")
    node.hasty = True
    node.start().until_synced()
    until(lambda: "a request is kept" in node.log(), "it has looked", node.log)
    node.delete(try_of(pod))  # an older one
    node.until_published()
    assert history(node, pod) == [SandboxRequested]
    assert pings(node.netns, four)
    node.delete(pod)
    assert not node.routes()
    until_ended(node, pod)


def test_sandbox_removal_is_published_again_after_the_log_was_restored(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pod, _ = start_decided(node)
    store, backup = node.nats.directory / "js", node.nats.directory / "backup"
    node.nats.kill()
    shutil.copytree(store, backup)
    node.nats.start()
    node.delete(pod)
    until_ended(node, pod)
    node.decided(node.pod(), *node.fresh())  # what the agent reads goes back, too
    node.until_read()
    node.kill()
    node.nats.kill()
    shutil.rmtree(store)
    backup.rename(store)
    node.nats.start()
    assert history(node, pod) == [SandboxRequested]
    node.hasty = True
    node.start()
    until_ended(node, pod)


def test_no_sandbox_removal_is_published_after_the_log_was_lost(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pod = asked(node)
    node.nats.lose_store()
    node.nats.start()
    until(lambda: node.boots("cni", "rewound"), "it begins anew", node.log)
    node.placed(node.address)
    node.until_published()
    assert node.history_of(pod) == []
    try_until_asked(node, pod)
    assert history(node, pod) == [SandboxRequested]


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_kubelet_retries_leave_nothing_behind_on_an_unwritable_disk(own_node: Node, how: str) -> None:
    """What is held back is in memory alone: that the log has the request is enough."""
    node = own_node
    with small(node, node.state_dir) as disk:
        node.start().until_synced().until_knowing()
        if how == "full":
            fill(disk)
        else:
            remount(disk, "ro")
        pod = asked(node)
        for number in range(10):
            if number == 5:
                node.restart().until_synced().until_knowing()
            fails(node, pod)
        assert node.journal() == []
        assert history(node, pod) == [SandboxRequested]
        node.restart(hasty=True)
        until_ended(node, pod)
