"""A kubelet that cannot start a pod tries for ever. The log is told what changes for IPAM, and loses no end.

Agents here hold back what they hold back for longer than a test takes, unless they are `hasty`.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.events import SandboxRemoved, SandboxRequested
from tests.cni.calling import pings, sh, until
from tests.cni.server.test_disks import fill, remount, small

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cni.calling import Pod
    from tests.cni.node import Node

#: As a kubelet makes it for a pod of its files.
STATIC = "5d41402abc4b2a76b9719d911017c592"
ROUNDS = 100

_tries = itertools.count(1)


def try_of(pod: Pod) -> Pod:
    """The pod's next sandbox."""
    return pod._replace(container=f"{pod.container}-{next(_tries)}")


def fails(node: Node, pod: Pod, timeout: float = 0, code: int = 11) -> None:
    """One try of a kubelet. The runtime removes what has failed, and does so again when it collects it."""
    sandbox = try_of(pod)
    node.add(sandbox, timeout=timeout).fails(code)
    for _ in range(2):
        node.delete(sandbox)


def history(node: Node, pod: Pod) -> list[type[Any]]:
    return [type(event) for event in node.history_of(pod)]


def asked(node: Node, name: str = "asked") -> Pod:
    """A pod whose request stands on the log, and whose first try has failed."""
    pod = node.pod(name)
    with ThreadPoolExecutor(1) as threads:
        trying = threads.submit(fails, node, pod, 1.0)
        until(lambda: node.newest_of(pod), "it is asked for", node.log)
        trying.result()
    assert history(node, pod) == [SandboxRequested]
    return pod


def until_ended(node: Node, pod: Pod) -> None:
    until(lambda: history(node, pod)[-1] is SandboxRemoved, "its end is on the log", node.log)
    node.until_told()
    assert history(node, pod) == [SandboxRequested, SandboxRemoved]


# --- a kubelet that tries for ever ----------------------------------------------------------------------


def test_a_pod_that_was_denied_and_never_asked_for_says_nothing_to_anybody(own_node: Node) -> None:
    """What it has not asked for has no end, and no disk is written for it."""
    node = own_node
    node.start().until_synced()
    pod = node.pod()
    node.denied(pod, "every address of its group is in use")
    node.until_read()
    for number in range(ROUNDS):
        if number % 25 == 0:
            node.restart().until_synced().until_knowing()
            written = node.journal_written
        fails(node, pod)
        assert node.journal_written == written
    assert node.history_of(pod) == []
    assert not node.attached()


def test_a_pod_that_was_asked_for_and_is_denied_is_asked_for_once(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pod = asked(node)
    node.denied(pod, "every address of its group is in use")
    for number in range(ROUNDS):
        if number % 25 == 10:
            node.restart().until_synced()
        fails(node, pod)
        assert len(node.journal()) <= 1
    assert history(node, pod) == [SandboxRequested]
    # The kubelet gives up.
    node.restart(hasty=True)
    until_ended(node, pod)
    for _ in range(3):
        node.delete(try_of(pod))
    node.until_told()
    assert history(node, pod) == [SandboxRequested, SandboxRemoved]


@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_decided_between_two_tries_is_found_by_the_next(own_node: Node, restarted: bool) -> None:
    """It waits for nothing, though its end may have been told: it was not."""
    node = own_node
    node.start().until_synced()
    pod = asked(node)
    four, six = node.decided(pod, *node.fresh())
    node.until_read()
    if restarted:
        node.restart().until_synced().until_knowing()
    sandbox = try_of(pod)
    assert [one["address"].partition("/")[0] for one in node.added(sandbox)["ips"]] == [four, six]
    assert pings(node.netns, four)
    node.until_told()
    node.restart(hasty=True).until_synced().until_knowing()
    assert history(node, pod) == [SandboxRequested]  # it runs
    node.delete(sandbox)
    until_ended(node, pod)


def test_a_sandbox_that_is_made_and_removed_again_and_again(own_node: Node) -> None:
    """As where a plugin behind ours fails. That it came back once is believed to be chance."""
    node = own_node
    node.start().until_synced()
    pod = node.pod("static", STATIC)
    node.decided(pod, *node.fresh())
    node.until_read()
    for number in range(20):
        sandbox = try_of(pod)
        node.added(sandbox)
        node.delete(sandbox)
        if number == 0:
            node.until_told()
    first = [SandboxRequested, SandboxRemoved]
    assert history(node, pod) == [*first, SandboxRequested]
    node.restart(hasty=True).until_told()
    assert history(node, pod) == first * 2


def test_a_pod_that_takes_the_place_of_one_that_never_started(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    old = asked(node, "web-0")
    new = node.pod("web-0", "uid-new")
    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(node.added, new)
        until(lambda: node.newest_of(new).uid == "uid-new", "it is asked for", node.log)
        node.decided(new, *node.fresh())
        adding.result()
    node.delete(try_of(old))  # late
    node.until_told()
    assert history(node, new) == [SandboxRequested, SandboxRequested]
    node.delete(new)
    until(lambda: history(node, new)[-1] is SandboxRemoved, "its end is on the log", node.log)


def test_two_sandboxes_of_a_pod_are_one_request(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    one = node.pod("static", STATIC)
    other = node.pod("static", STATIC)
    node.decided(one, *node.fresh())
    node.until_read()
    node.added(one)
    node.added(other)
    fails(node, try_of(node.pod("static", STATIC))._replace(at="/run/netns/none-of-ours"), code=8)
    node.delete(one)
    node.until_told()
    node.restart().until_synced()
    assert history(node, one) == [SandboxRequested]
    node.delete(other)
    until_ended(node, one)


# --- whatever is lost -----------------------------------------------------------------------------------


def test_an_agent_that_is_killed_while_a_pod_waits(own_node: Node) -> None:
    """No DEL may ever come. In the next life nobody waits."""
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
def test_an_agent_that_is_killed_between_add_and_del(own_node: Node, kills: bool) -> None:
    node = own_node
    node.start().until_synced()
    pod = node.pod("static", STATIC)
    node.decided(pod, *node.fresh())
    node.added(pod)
    node.until_told().restart().until_synced()
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
def test_after_a_reboot_what_was_asked_for_ends(own_node: Node, removed: bool) -> None:
    """By a DEL for a container that nobody knows; and where none ever comes."""
    node = own_node
    node.start().until_synced()
    pod = node.pod("static", STATIC)
    node.decided(pod, *node.fresh())
    node.added(pod)
    node.until_told()
    with rebooted(node, pod):
        node.hasty = not removed
    if removed:
        node.delete(pod)
        node.restart(hasty=True)
    until_ended(node, pod)


def test_after_a_reboot_a_pod_that_starts_again_keeps_what_it_has(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    old, new = node.pod("static", STATIC), node.pod("static", STATIC)
    node.decided(old, *node.fresh())
    result = node.added(old)
    node.until_told()
    with rebooted(node, old):
        pass
    node.until_synced()
    node.delete(old)
    assert node.added(new)["ips"] == result["ips"]
    node.delete(old)
    node.until_told()
    node.restart(hasty=True).until_synced().until_knowing()
    assert history(node, new) == [SandboxRequested]


def test_a_pod_whose_file_was_lost_keeps_its_address(own_node: Node) -> None:
    """Somebody has emptied RUN_DIR, and the pod runs on."""
    node = own_node
    node.start().until_synced()
    pod = node.pod("static", STATIC)
    four, _ = node.decided(pod, *node.fresh())
    node.added(pod)
    node.until_told().kill()
    shutil.rmtree(node.run_dir / "attachments")
    node.hasty = True
    node.start().until_synced()
    until(lambda: "a request is kept" in node.log(), "it has looked", node.log)
    node.delete(try_of(pod))  # an older one
    node.until_told()
    assert history(node, pod) == [SandboxRequested]
    assert pings(node.netns, four)
    node.delete(pod)
    assert not node.routes()
    until_ended(node, pod)


def test_a_log_that_was_restored_from_a_backup_is_told_the_end_again(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pod = node.pod("static", STATIC)
    node.decided(pod, *node.fresh())
    node.added(pod)
    node.until_told()
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


def test_a_log_that_was_lost_asks_for_no_end(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pod = asked(node)
    node.nats.kill()
    shutil.rmtree(node.nats.directory / "js")
    node.nats.start()
    until(lambda: node.boots("cni", "rewound"), "it begins anew", node.log)
    node.placed(node.address)
    node.until_told()
    assert node.history_of(pod) == []
    with ThreadPoolExecutor(1) as threads:
        trying = threads.submit(fails, node, pod, 1.0)
        until(lambda: node.newest_of(pod), "it is asked for again", node.log)
        trying.result()
    assert history(node, pod) == [SandboxRequested]


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_where_the_disk_takes_nothing_a_kubelet_may_try_for_ever_too(own_node: Node, how: str) -> None:
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
