"""An agent that is away while its runtime calls: DELs are done when it is back, and STATUS has patience."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from romana_bus.events import SandboxRemoved, SandboxRequested
from tests.cni.calling import CLIENTS, until
from tests.cni.disks import fill, small
from tests.cni.kubelet import STATIC

if TYPE_CHECKING:
    from tests.cni.calling import Answer, Pod
    from tests.cni.node import Node

GONE = (0, "", "")


def started(node: Node, *options: str) -> Node:
    node.hasty = True
    return node.start(*options).until_synced()


def attached(node: Node, count: int = 1) -> list[Pod]:
    """Pods that run, of which the first is a static one."""
    pods = [node.pod("static", STATIC), *(node.pod() for _ in range(count - 1))]
    for pod in pods:
        node.decided(pod, *node.fresh())
    node.until_read()
    for pod in pods:
        node.added(pod)
    node.until_published()
    assert len(node.routes()) == 2 * count
    return pods


def spooled(node: Node) -> list[str]:
    return sorted(file.name for file in (node.run_dir / "spool").iterdir() if file.is_file())


def until_looked(node: Node) -> None:
    """Until the running agent has done what the spool had."""
    (node.run_dir / "spool" / "nonsense").touch()
    until(lambda: not spooled(node), "the spool is empty", node.log)


def links(node: Node) -> set[str]:
    return {name for name in node.links() if name not in ("lo", "eth0")}


@pytest.mark.parametrize("client", CLIENTS)
def test_del_without_an_agent_is_done_when_it_starts(own_node: Node, client: str) -> None:
    node = started(own_node)
    pods = attached(node, 3)
    node.kill()
    for pod in pods[:2]:
        assert node.call("DEL", pod, client) == GONE
    (node.run_dir / "spool" / ".123.456").write_text("the client was killed")
    for command in ("ADD", "CHECK", "GC"):
        node.call(command, pods[0], client).fails(11, "does not answer")
    assert len(node.routes()) == 6
    node.start()  # that is, until it serves
    assert set(node.routes().values()) == links(node)
    assert len(node.routes()) == 2
    assert [one.container for one in node.attached()] == [pods[2].container]
    assert spooled(node) == []
    assert "eth0" not in pods[0].links()
    until(lambda: isinstance(node.newest_of(pods[0]), SandboxRemoved), "the log is told", node.log)
    assert node.newest_of(pods[0]).sandbox == pods[0].container
    assert node.history_of(pods[1]) == []
    for pod in pods:
        assert node.call("DEL", pod, client) == GONE  # as a runtime does once more
    assert not node.routes()
    assert not node.attached()


def test_del_is_done_without_the_log(own_node: Node) -> None:
    node = started(own_node)
    (pod,) = attached(node)
    node.kill()
    node.nats.kill()
    node.delete(pod)
    node.start()
    assert not node.routes()
    node.nats.start()
    until(lambda: isinstance(node.newest_of(pod), SandboxRemoved), "the log is told", node.log)


def test_del_that_fails_is_run_again(own_node: Node) -> None:
    """The log is out of reach, and the disk of what waits for it is full."""
    node = own_node
    with small(node, node.state_dir) as disk:
        started(node)
        (pod,) = attached(node)
        node.kill()
        node.nats.kill()
        fill(disk)
        node.delete(pod)
        node.start()
        until(
            lambda: "warning: DELs of the spool that fail: 1" in node.fetches("readyz"),
            "it is said",
            node.log,
        )
        node.add(pod, timeout=0).fails(100, "No space left")
        assert spooled(node) == [f"{pod.container}:eth0"]
        (disk / "big").unlink()
        until(lambda: spooled(node) == [], "it is done", node.log)
        assert not node.attached()
        assert "warning" not in node.fetches("readyz")
        node.nats.start()
        until(lambda: isinstance(node.newest_of(pod), SandboxRemoved), "the log is told", node.log)


def test_sandbox_that_is_added_again_is_not_removed_by_an_older_del(own_node: Node) -> None:
    node = started(own_node)
    (pod,) = attached(node)
    node.kill()
    node.delete(pod)
    node.start().until_synced()
    result = node.added(pod)
    until_looked(node)
    assert node.check(pod, result).code == 0
    node.until_published()
    assert isinstance(node.newest_of(pod), SandboxRequested)


def test_frozen_agent(own_node: Node) -> None:
    """Both clients wait for ten seconds. When it goes on, it reads what they had sent, too."""
    node = started(own_node, "--status-grace", "5")
    pods = attached(node, 2)
    node.signal(signal.SIGSTOP)
    with ThreadPoolExecutor() as threads:
        calls = [
            threads.submit(node.call, command, pod, client, timeout=0)
            for pod, client in zip(pods, CLIENTS, strict=True)
            for command in ("DEL", "STATUS")
        ]
    for deleted, asked in zip(calls[::2], calls[1::2], strict=True):
        assert deleted.result() == GONE
        asked.result().fails(50, "does not answer", "Connection timed out")  # the grace is over
    assert len(spooled(node)) == 2
    node.signal(signal.SIGCONT)
    until(lambda: node.attached() == [], "both are detached", node.log)
    results = [node.added(pod) for pod in pods]
    until_looked(node)
    assert [node.check(pod, result).code for pod, result in zip(pods, results, strict=True)] == [0, 0]
    assert node.status().code == 0


def test_agent_that_is_killed_among_many_dels(own_node: Node) -> None:
    node = started(own_node)
    pods = attached(node, 30)
    with ThreadPoolExecutor(15) as threads:
        calls = [
            threads.submit(node.call, "DEL", pod, list(CLIENTS)[number % 2])
            for number, pod in enumerate(pods)
        ]
        until(lambda: len(node.attached()) < 25, "some are done")
        node.kill()
    assert {call.result() for call in calls} == {GONE}
    node.start()
    assert (node.routes(), links(node), node.attached(), spooled(node)) == ({}, set(), [], [])


def test_status_is_the_last_answer_for_a_while(own_node: Node) -> None:
    node = own_node.start("--status-grace", "3600")
    until_kept(node)  # nobody has asked
    node.kill()
    assert statuses(node) == [GONE, GONE]
    node.nats.kill()
    node.start("--status-grace", "3600")
    assert statuses(node) == [GONE, GONE]
    assert node.fetches("readyz").startswith("503")
    node.stop()
    assert statuses(node) == [GONE, GONE]
    node.start("--status-grace", "0")
    for answer in statuses(node):
        answer.fails(50, "not in sync with the log")


def test_status_is_the_truth_when_the_grace_is_over(own_node: Node) -> None:
    node = started(own_node, "--status-grace", "1")
    until_kept(node)
    node.kill()
    until(lambda: all(answer.code for answer in statuses(node)), "the grace is over")
    for answer in statuses(node):
        answer.fails(50, "does not answer", "is `romana-bus agent` running on this node?")
    node.start("--status-grace", "1").until_synced()


def until_kept(node: Node) -> None:
    """Until the agent has kept that it is ready."""
    kept = node.run_dir / "last-status"
    until(lambda: kept.exists() and kept.read_bytes().startswith(b"0 "), "the answer is kept", node.log)


def statuses(node: Node) -> list[Answer]:
    """As both clients have it."""
    return [node.call("STATUS", client=client) for client in CLIENTS]
