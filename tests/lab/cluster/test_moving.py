"""Moving from another network plugin node by node, as docs/upgrade.md says, and back: Debian's bridge with
host-local is the other one. Agents run on all nodes from the beginning. The other plugin's configuration
sorts before ours, so each node is moved when that is taken away.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from romana_bus.lab.machine.directory import ROOT
from tests import kernel
from tests.kernel import STATIC
from tests.lab.cluster.lab import Commands
from tests.lab.conftest import needs_plugins, needs_root
from tests.lab.iproute import ip

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.lab.spec import Spec
    from tests.cli.processes import Home

pytestmark = [needs_root, needs_plugins, pytest.mark.timeout(300)]

#: The pods' networks of the other plugin.
FOREIGN = {"a1": "10.99.1.0/24", "a2": "10.99.2.0/24"}


@pytest.fixture
def run(home: Home, lab: Spec) -> Commands:
    """A lab in which the other plugin connects pods."""
    run = Commands(home, lab)
    run.up("--zones", "1", "--nodes-per-zone", "2")
    for node in FOREIGN:
        foreign(run, node)
    for node, other in (("a1", "a2"), ("a2", "a1")):
        via = address(run, other)
        ip("-n", lab.namespace(node), "route", "add", FOREIGN[other], "via", via, "proto", "static")
    return run


def files(run: Commands, node: str) -> Path:
    """The node's directory in the lab."""
    return ROOT / run.spec.name / "nodes" / node


def address(run: Commands, node: str) -> str:
    shown = ip("-n", run.spec.namespace(node), "-j", "-4", "address", "show", "dev", "eth0")
    [link] = json.loads(shown)
    return str(link["addr_info"][0]["local"])


def foreign(run: Commands, node: str) -> None:
    """The other plugin's configuration on a node."""
    state = files(run, node) / "host-local"
    ipam = {
        "type": "host-local", "dataDir": str(state), "ranges": [[{"subnet": FOREIGN[node]}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }  # fmt: skip
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": ipam}
    document = {"cniVersion": "1.0.0", "name": "other", "plugins": [bridge]}
    (files(run, node) / "net.d/10-bridge.conflist").write_text(json.dumps(document))


def run_pod(run: Commands, name: str, node: str) -> bool:
    """Whether a pod that is run on the node gets an address of the other plugin."""
    [pod] = run("pod", "run", name, "--node", node, "--json").json
    address: str = pod["addresses"][0]
    return address.startswith(FOREIGN[node].removesuffix("0/24"))


def all_reach_each_other(run: Commands) -> bool:
    return "4 of 4 pairs reach each other" in run("matrix").out


def test_nodes_move_from_another_plugin_one_by_one_and_back(run: Commands) -> None:
    assert run_pod(run, "old-1", "a1")
    assert run_pod(run, "old-2", "a2")
    move(run, "a1", "old-1")
    assert not run_pod(run, "new-1", "a1")
    assert all_reach_each_other(run)  # one moved, the other not
    assert foreign_routes(run, "a1") == {FOREIGN["a2"]}  # left alone
    move(run, "a2", "old-2")
    assert not run_pod(run, "new-2", "a2")
    assert all_reach_each_other(run)
    run("pod", "delete", "new-1")
    foreign(run, "a1")
    assert run_pod(run, "again-1", "a1")
    assert all_reach_each_other(run)
    uninstall(run, "a1")
    (ping,) = run("ping", "again-1", "a2", "--json").json_lines
    assert ping["received"] == 3


def move(run: Commands, node: str, pod: str) -> None:
    """Drains the node, and takes the other plugin's configuration away."""
    run("pod", "delete", pod)
    (files(run, node) / "net.d/10-bridge.conflist").unlink()


def uninstall(run: Commands, node: str) -> None:
    """Takes the agent away from a node on which pods of the other plugin run."""
    run("agent", "kill", node)
    there, namespace = files(run, node), run.spec.namespace(node)
    [router] = [one.gateway for one in kernel.routes(namespace) if one.destination == "default"]
    done = run.sourced(
        'ROMANA_NATS=nats://$ROUTER:4222 ip netns exec $SPACE romana-bus agent uninstall --node $NODE '
        '--run-dir "$AT/run" --state-dir "$AT/state" --bin-dir "$AT/bin" --conf-dir "$AT/net.d"',
        ROUTER=router, SPACE=namespace, NODE=node, AT=str(there),
    )  # fmt: skip
    assert done.code == 0, done
    assert not any((there / name).exists() for name in ("run", "state", "bin/romana-cni"))
    assert [file.name for file in (there / "net.d").iterdir()] == ["10-bridge.conflist"]
    assert not [route for route in kernel.routes(namespace) if route.protocol in (kernel.BLOCKS, kernel.PODS)]
    assert not kernel.nexthops(namespace)


def foreign_routes(run: Commands, node: str) -> set[str]:
    routes = kernel.routes(run.spec.namespace(node), STATIC)
    return {route.destination for route in routes if route.destination != "default"}
