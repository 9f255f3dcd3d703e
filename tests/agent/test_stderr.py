"""An agent whose standard error takes nothing: pods start all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cni.node import Node


@pytest.mark.parametrize("into", ["/dev/full", ">(exec true)"], ids=["full disk", "no reader"])
def test_pods_start_and_stop_through_an_outage(own_node: Node, into: str) -> None:
    node = own_node
    node.start(behind=("bash", "-c", f'exec "$0" "$@" 2> {into}')).until_synced()
    pods = node.pod(), node.pod()
    for pod in pods:
        node.decided(pod, *node.fresh())
    node.added(pods[0])
    node.nats.kill()
    node.added(pods[1])
    node.add(node.pod(), timeout=0.5).fails(11, "the log is out of reach")
    node.nats.start()
    node.until_synced()
    for pod in pods:
        node.delete(pod)
    later = node.pod()
    node.decided(later, *node.fresh())
    node.added(later)
    dropped = node.metrics().partition("\nromana_log_lines_dropped_total ")[2].split()[0]
    assert float(dropped) > 0
    assert node.stop() == 0
