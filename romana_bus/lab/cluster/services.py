"""What runs in the background, and how each is started."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from romana_bus.lab.machine import processes
from romana_bus.lab.machine.directory import write

if TYPE_CHECKING:
    from romana_bus.lab.machine.directory import Place
    from romana_bus.lab.machine.processes import Record
    from romana_bus.lab.spec import Node

#: Isolated: neither the directory nor the Python variables of whoever typed `lab up` count.
PYTHON = (sys.executable, "-I", "-m")
#: Seconds that a pod waits for its address before its kubelet is told why, and tries again.
PATIENCE = "3"
NATS, SERVE, BUS = "nats", "serve", "up"


def agent(node: Node) -> str:
    """The name of a node's agent among the processes."""
    return f"agent-{node.name}"


def kubelet(node: Node) -> str:
    return f"kubelet-{node.name}"


def of_node(place: Place, node: Node) -> list[str]:
    """The processes of a node."""
    return [*([] if place.spec.conflist else [agent(node)]), kubelet(node)]


def everything(place: Place) -> list[str]:
    nodes = [name for node in place.spec.nodes for name in of_node(place, node)]
    return [NATS, SERVE, BUS, *nodes]


def start_nats(place: Place) -> Record:
    return processes.start(
        place, NATS, [*PYTHON, "romana_bus.lab.cluster.nats", str(place.directory / "nats")]
    )


def start_serve(place: Place) -> Record:
    return processes.start(place, SERVE, [*PYTHON, "romana_bus.lab.cluster.serve", place.spec.name])


def start_bus(place: Place) -> Record:
    """The watcher and the decider. They and agents learn NATS's password by their environment: a command
    line is for all to read."""
    which = (
        ["--kubeconfig", place.spec.kubeconfig] if place.spec.kubeconfig else ["--server", place.facts.server]
    )
    topology = str(place.directory / "topology.yaml")
    command = [
        *PYTHON,
        "romana_bus",
        "up",
        "--plain",
        "--topology",
        topology,
        "--cluster",
        place.spec.name,
        *which,
    ]
    return processes.start(place, BUS, command, environment={"ROMANA_NATS": place.nats().url})


def start_agent(place: Place, node: Node) -> Record:
    directory = place.node(node.name)
    gateway = place.spec.zone(node.zone).gateways[0]
    command = [
        *PYTHON, "romana_bus", "agent", "--node", node.name, "--cluster", place.spec.name,
        "--run-dir", str(directory / "run"), "--state-dir", str(directory / "state"),
        "--timeout", PATIENCE,
    ]  # fmt: skip
    environment = {"ROMANA_NATS": place.nats().relayed(gateway)}
    return processes.start(place, agent(node), command, place.spec.namespace(node.name), environment)


def start_install(place: Place, node: Node) -> Record:
    """Writes the plugin and the node's CNI configuration, and ends."""
    directory = place.node(node.name)
    command = [
        *PYTHON, "romana_bus", "agent", "install-cni", "--bin-dir", str(directory / "bin"),
        "--conf-dir", str(directory / "net.d"), "--run-dir", str(directory / "run"),
    ]  # fmt: skip
    return processes.start(place, f"install-{node.name}", command)


def start_kubelet(place: Place, node: Node) -> Record:
    command = [*PYTHON, "romana_bus.cli.lab.kubelet", place.spec.name, node.name]
    return processes.start(place, kubelet(node), command)


def make_node(place: Place, node: Node) -> None:
    """Its directories; with the CNI configuration that all nodes are to have, where there is one."""
    directory = place.node(node.name)
    for part in ("run", "state", "bin", "net.d", "sandboxes", "cni", "manifests"):
        (directory / part).mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.spec.conflist:
        with open(place.spec.conflist, "rb") as file:
            write(directory / "net.d/10-lab.conflist", file.read())
