"""Sandboxes whose network namespace is gone are released without a DEL, and no others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.events import SandboxRemoved, SandboxRequested, Wired
from tests.cni import node as node_module
from tests.cni.calling import pings, sh, until
from tests.cni.kubelet import STATIC, history, until_ended
from tests.cni.node import Node, Reachable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cni.calling import Pod

#: An agent whose second look is not long after the first, and which else looks each minute only.
HASTY = """
from romana_bus.cli.main import main
from romana_bus.cni.server import missing_links
missing_links.CONFIRM = 0.2
main()
"""


@pytest.fixture(scope="module")
def node(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("lost")
    with (
        pytest.MonkeyPatch.context() as patched,
        Reachable(directory / "nats") as nats,
        Node(directory / "node", nats, "lost") as node,
    ):
        patched.setattr(node_module, "HASTY", HASTY)
        node.hasty = True
        yield node.start().until_synced()


def attached(node: Node, pod: Pod) -> bool:
    return pod.container in {each.container for each in node.attached()}


def is_told(node: Node, pod: Pod, text: str) -> bool:
    return any(text in line and f"default/{pod.name}" in line for line in node.log().splitlines())


def added(node: Node, pod: Pod) -> tuple[Any, tuple[str, ...]]:
    """The host's end of its link, and its addresses."""
    addresses = node.decided(pod, *node.fresh())
    return node.added(pod)["interfaces"][0]["name"], addresses


def until_looked(node: Node) -> None:
    """Until the agent has released another sandbox: it has looked at all of them again and again."""
    another = node.pod()
    added(node, another)
    sh("ip", "netns", "del", another.netns)
    until(lambda: not attached(node, another), "another one is released", node.log)


def test_sandbox_whose_namespace_is_gone_is_released_as_by_del(node: Node) -> None:
    pod = node.pod("", STATIC)
    link, addresses = added(node, pod)
    node.until_published()
    sh("ip", "netns", "del", pod.netns)
    until(lambda: not attached(node, pod), "it is released", node.log)
    until_ended(node, pod)
    assert node.newest_of(pod).sandbox == pod.container
    assert is_told(node, pod, "a sandbox was gone with its network namespace, and no DEL came: released")
    assert "romana_lost_sandboxes_released_total" in node.metrics()
    assert link not in node.links()
    assert not {*addresses} & {*node.routes()}

    def reported() -> Any:
        report = node.newest(f"node.{node.name}.cni")
        return isinstance(report, Wired) and not {*addresses} & {*report.addresses}

    until(reported, "a report without it", node.log)
    node.delete(pod)  # late
    assert history(node, pod) == [SandboxRequested, SandboxRemoved]
    another = node.pod()
    node.decided(another, *addresses)
    node.added(another)
    assert all(pings(node.netns, address) for address in addresses)


def test_newer_sandbox_of_the_pod_keeps_its_addresses(node: Node) -> None:
    older = node.pod("same", STATIC)
    newer = node.pod("same", STATIC)
    _, addresses = added(node, older)
    node.added(newer)
    sh("umount", older.path)  # the file stays, as where a runtime was killed
    until(lambda: not attached(node, older), "it is released", node.log)
    assert attached(node, newer)
    assert all(pings(node.netns, address) for address in addresses)
    node.until_published()
    assert history(node, newer) == [SandboxRequested]


@pytest.mark.parametrize("place", ["another directory", "a process"])
def test_namespace_that_lives_elsewhere_is_not_gone(node: Node, tmp_path: Path, place: str) -> None:
    """What the runtime named is gone, and something else holds the namespace; until that ends too."""
    pod, mounted = node.pod(), tmp_path / "ns"
    _, addresses = added(node, pod)
    if place == "a process":
        process = node.background(pod.netns, "sleep", "600")
        until(lambda: os.stat(f"/proc/{process.pid}/ns/net").st_ino == os.stat(pod.path).st_ino, "it runs")
    else:
        mounted.touch()
        sh("mount", "--bind", pod.path, str(mounted))
    sh("umount", pod.path)
    os.unlink(pod.path)
    until_looked(node)
    assert attached(node, pod)
    assert all(pings(node.netns, address) for address in addresses)
    if place == "a process":
        process.kill()
        process.wait()
    else:
        sh("umount", str(mounted))
    until(lambda: not attached(node, pod), "it is released", node.log)


def test_path_of_a_process_is_gone_with_the_process(node: Node) -> None:
    """As podman and ctr name namespaces; another process may get its number."""
    pod = node.pod()
    process = node.background(pod.netns, "sleep", "600")
    named = pod._replace(at=f"/proc/{process.pid}/ns/net")
    until(lambda: os.stat(named.path).st_ino == os.stat(pod.path).st_ino, "it runs")
    _, addresses = added(node, named)
    sh("ip", "netns", "del", pod.netns)
    until_looked(node)
    assert attached(node, pod)
    process.kill()
    process.wait()
    until(lambda: not attached(node, pod), "it is released", node.log)
    assert not {*addresses} & {*node.routes()}


def test_path_that_leads_to_another_namespace_is_gone(node: Node) -> None:
    pod, another = node.pod(), node.pod()
    added(node, pod)
    sh("umount", pod.path)
    sh("mount", "--bind", another.path, pod.path)
    until(lambda: not attached(node, pod), "it is released", node.log)


def test_deleted_link_of_a_pod_that_runs_is_no_end(node: Node) -> None:
    pod = node.pod()
    link, _ = added(node, pod)
    node.ip("link", "del", link)
    until_looked(node)
    assert attached(node, pod)
    assert is_told(node, pod, "the link of a sandbox is gone, and no DEL came")
    node.added(pod)
    node.delete(pod)


def test_namespace_that_cannot_be_read_is_not_gone(node: Node, tmp_path: Path) -> None:
    """Nor is its link: somebody has deleted it."""
    pod = node.pod()
    named = pod._replace(at=str(tmp_path / "way" / pod.netns))
    (tmp_path / "way").symlink_to("/run/netns")
    link, _ = added(node, named)
    (tmp_path / "way").unlink()
    (tmp_path / "way").symlink_to("way")
    with pytest.raises(OSError, match="symbolic links"):
        os.stat(named.path)
    node.ip("link", "del", link)
    until_looked(node)
    assert attached(node, pod)
    (tmp_path / "way").unlink()
    until_looked(node)
    assert not attached(node, pod)


def test_sandboxes_that_ended_without_an_agent_are_released_at_its_start(
    own_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a reboot with a RUN_DIR on disk; the log need not be there."""
    monkeypatch.setattr(node_module, "HASTY", HASTY)
    node = own_node
    node.hasty = True
    node.start().until_synced()
    gone, stays = node.pod("gone", STATIC), node.pod("stays")
    added(node, gone)
    _, addresses = added(node, stays)
    node.until_published()
    node.kill()
    sh("ip", "netns", "del", gone.netns)
    node.nats.kill()
    node.start()
    until(lambda: not attached(node, gone), "it is released", node.log)
    assert attached(node, stays)
    assert all(pings(node.netns, address) for address in addresses)
    node.nats.start()
    until_ended(node, gone)
