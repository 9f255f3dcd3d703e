"""What an agent keeps, where the disk is full or read-only, and two agents that would keep the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.events import SandboxRemoved
from tests.cni.calling import pings
from tests.cni.disks import fill, remount, small
from tests.cni.kubelet import OTHER, STATIC

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cni.calling import Pod
    from tests.cni.node import Node


def two(node: Node) -> tuple[Pod, Pod]:
    """Pods that are asked for, of which the first runs."""
    node.start().until_synced()
    pods = node.pod("runs", STATIC), node.pod("starts", OTHER)
    for pod in pods:
        node.decided(pod, *node.fresh())
    node.added(pods[0])
    node.until_published()
    return pods


def test_pods_stop_on_a_full_disk_while_the_log_is_reachable(own_node: Node) -> None:
    node = own_node
    with small(node, node.state_dir) as disk:
        pods = two(node)
        node.added(pods[1])
        node.until_published()  # or a file that goes makes room
        fill(disk)
        node.delete(pods[0])
        assert isinstance(node.newest_of(pods[0]), SandboxRemoved)
        node.nats.kill()
        for _ in range(2):  # what is in memory alone is not done when it is asked for again
            node.call("DEL", pods[1]).fails(100, "No space left")
        (disk / "big").unlink()
        node.delete(pods[1])


def test_journal_on_a_read_only_disk(own_node: Node) -> None:
    node = own_node
    with small(node, node.state_dir) as disk:
        pods = two(node)
        remount(disk, "ro")
        node.added(pods[1])  # an address that is known needs no word
        node.delete(pods[0])
        assert isinstance(node.newest_of(pods[0]), SandboxRemoved)
        node.kill()
        node.start().until_synced()
        node.delete(pods[1])
        assert isinstance(node.newest_of(pods[1]), SandboxRemoved)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_attachments_on_a_full_disk(own_node: Node, how: str) -> None:
    """Nothing is wired that no file names; what is wired stays; and it goes on when there is room."""
    node = own_node
    said = "No space left" if how == "full" else "Read-only file system"
    with small(node, node.run_dir) as disk:
        runs, starts = two(node)
        (four, _), routes = list(node.routes()), node.routes()
        files = sorted(disk.rglob("*"))
        if how == "full":
            fill(disk)
        else:
            remount(disk, "ro")
        for _ in range(3):
            node.add(starts).fails(100, said)
        node.add(node.pod(), timeout=0).fails(100, said)
        assert "eth0" not in starts.links()
        assert node.routes() == routes
        assert pings(node.netns, four)
        if how == "full":
            (disk / "big").unlink()
            assert sorted(disk.rglob("*")) == files  # nothing half written is left
        else:
            node.call("DEL", runs).fails(100, said)  # or a restart would find it attached
            node.stop()
            done = node.inside(*node.command())
            assert done.returncode == 1
            assert f"cannot create a socket at {disk}/cni.sock" in done.stderr
            assert said in done.stderr
            assert "Traceback" not in done.stderr
            remount(disk, "rw")
            node.start().until_synced()
        node.added(starts)
        for pod in (runs, starts):
            node.delete(pod)
        assert not node.attached()
        assert not node.routes()


@pytest.mark.parametrize("shared", ["--run-dir", "--state-dir"])
def test_second_agent_with_the_same_directory_is_refused(own_node: Node, tmp_path: Path, shared: str) -> None:
    node = own_node
    node.start().until_synced()
    first = node.agent
    other = "--state-dir" if shared == "--run-dir" else "--run-dir"
    second = node.inside(*node.command(other, str(tmp_path / "other")))
    assert second.returncode == 1
    directory = node.run_dir if shared == "--run-dir" else node.state_dir
    assert second.stderr.splitlines()[-1].startswith("romana-bus: ")
    assert f"another agent runs with {shared} {directory}: stop it first" in second.stderr
    assert first is not None
    assert first.poll() is None
    assert node.status().code == 0


def test_one_directory_for_state_and_run_is_allowed(own_node: Node) -> None:
    node = own_node
    node.state_dir = node.run_dir
    node.start().until_synced()
