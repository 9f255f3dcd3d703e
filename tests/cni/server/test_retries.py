"""A kubelet that cannot start a pod tries for ever. The log is told what changes for IPAM, and loses no end.

Agents here hold back what they hold back for longer than a test takes, unless they are `hasty`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from romana_bus.events import SandboxRemoved, SandboxRequested
from tests.cni.calling import pings, until
from tests.cni.kubelet import ROUNDS, STATIC, addresses_in, asked, fails, history, try_of, until_ended

if TYPE_CHECKING:
    from tests.cni.node import Node


def test_denied_pod_without_a_request_publishes_nothing(own_node: Node) -> None:
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


def test_denied_pod_is_requested_once(own_node: Node) -> None:
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
    node.until_published()
    assert history(node, pod) == [SandboxRequested, SandboxRemoved]


@pytest.mark.parametrize("restarted", [False, True])
def test_address_assigned_between_two_tries_is_found_by_the_next(own_node: Node, restarted: bool) -> None:
    """It waits for nothing, though its end may have been told: it was not."""
    node = own_node
    node.start().until_synced()
    pod = asked(node)
    four, six = node.decided(pod, *node.fresh())
    node.until_read()
    if restarted:
        node.restart().until_synced().until_knowing()
    sandbox = try_of(pod)
    assert addresses_in(node.added(sandbox)) == [four, six]
    assert pings(node.netns, four)
    node.until_published()
    node.restart(hasty=True).until_synced().until_knowing()
    assert history(node, pod) == [SandboxRequested]  # it runs
    node.delete(sandbox)
    until_ended(node, pod)


def test_sandbox_created_and_removed_repeatedly(own_node: Node) -> None:
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
            node.until_published()
    first = [SandboxRequested, SandboxRemoved]
    assert history(node, pod) == [*first, SandboxRequested]
    node.restart(hasty=True).until_published()
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
    node.until_published()
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
    node.until_published()
    node.restart().until_synced()
    assert history(node, one) == [SandboxRequested]
    node.delete(other)
    until_ended(node, one)
