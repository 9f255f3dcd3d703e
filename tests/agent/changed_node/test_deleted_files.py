"""Somebody deletes the agent's files while it runs: they are made again, and no pod notices."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.cni.calling import pings, until

if TYPE_CHECKING:
    from tests.cni.node import Node


def until_called(node: Node) -> None:
    until(lambda: node.status().code == 0, "it can be called", node.log)


def test_a_deleted_socket_is_made_again(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pod = node.pod()
    four, _ = node.decided(pod, *node.fresh())
    node.added(pod)
    (node.run_dir / "cni.sock").unlink()
    until_called(node)
    node.delete(pod)
    assert not pings(node.netns, four)


def test_deleted_directories_are_made_again_with_what_was_in_them(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pod, later = node.pod(), node.pod()
    four, _ = node.decided(pod, *node.fresh())
    node.added(pod)
    shutil.rmtree(node.run_dir)
    shutil.rmtree(node.state_dir)
    until_called(node)
    until((node.state_dir / "journal").is_dir, "the journal has its directory", node.log)
    assert pings(node.netns, four)
    node.decided(later, *node.fresh())
    node.added(later)
    node.restart().until_synced()
    node.delete(pod)  # it still knows what it attached
    assert not pings(node.netns, four)
    node.delete(later)
    assert not node.attached()


def test_directories_that_cannot_be_made_again_are_told(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    shutil.rmtree(node.run_dir)
    node.run_dir.write_text("in the way")
    until(lambda: "romana-cni cannot call this agent" in node.fetches("readyz"), "it is told", node.log)
    node.run_dir.unlink()
    until_called(node)
    until(lambda: node.fetches("readyz").startswith("ok"), "it is well again", node.log)
