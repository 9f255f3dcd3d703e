"""An agent whose node the log does not know: under a name that is not its name in Kubernetes, mostly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.cli.serve import agent as command
from romana_bus.events import HostDenied, HostRemoved
from tests.cni import node as node_module
from tests.cni.calling import until
from tests.cni.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cni.node import Reachable

#: The same program, to which a node that is not listed is unknown at once.
HASTY = """
from romana_bus.cli.main import main
from romana_bus.consumers import routes
routes.UNKNOWN_AFTER = 0.0
main()
"""
SAID = "the log knows no node"


class Unplaced(Node):
    """Nobody has given it a place."""

    def placed(self, *arguments: Any, **options: Any) -> None:
        del arguments, options


@pytest.fixture
def unplaced(own_nats: Reachable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr(node_module, "HASTY", HASTY)
    with Unplaced(tmp_path / "node", own_nats, "unknown") as node:
        node.publish()
        node.hasty = True
        yield node.start()


def test_node_that_the_log_does_not_know(unplaced: Node) -> None:
    node = unplaced
    until(lambda: SAID in node.fetches("readyz"), "it is said", node.log)
    assert f"node: {SAID} {node.name}: is that its name in Kubernetes?" in node.fetches("readyz")
    assert node.fetches("readyz").startswith("503")
    node.status().fails(50, f"node {node.name} has no block", SAID)
    node.publish(HostDenied(node=node.name, uid="u", reason="needs a label"))
    until(lambda: node.fetches("readyz").startswith("ok"), "it is known", node.log)
    answer = node.status()
    answer.fails(50, "has no block", "ipam show")
    Node.placed(node, node.address)
    node.until_synced()
    node.publish(HostRemoved(node=node.name, uid="u"))
    until(lambda: SAID in node.fetches("readyz"), "it is said again", node.log)
    assert node.status().code == 0  # its pods have their addresses


def test_name_of_the_node_is_the_host_name_in_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[str]()

    class Agent:
        def __init__(self, settings: Any, *_: Any) -> None:
            started.append(settings.node)

        def run(self) -> None: ...

    monkeypatch.setattr("socket.gethostname", lambda: "Node-A.Example")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(command, "Agent", Agent)
    monkeypatch.setattr(command, "run", lambda *_: None)
    command.agent()
    command.agent(node="Given")
    assert started == ["node-a.example", "Given"]
