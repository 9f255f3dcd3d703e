"""The lab's background processes, and how each is started."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from romana_bus.bus.auth.directory import ensure
from romana_bus.bus.auth.permissions import agent_of
from romana_bus.lab.machine import processes
from romana_bus.lab.machine.directory import write

if TYPE_CHECKING:
    from romana_bus.lab.machine.directory import Lab
    from romana_bus.lab.machine.processes import Record
    from romana_bus.lab.spec import Node

#: Isolated: the working directory and the PYTHON* variables of whoever typed `lab up` are ignored.
PYTHON = (sys.executable, "-I", "-m")
#: Seconds that an ADD waits for the pod's address. Then it fails with the reason, and the kubelet retries.
PATIENCE = "3"
#: A lab's log is short, and its NATS server may be on a small disk.
STORE_SIZE = "1GB"
NATS, SERVE, BUS = "nats", "serve", "up"


def agent(node: Node) -> str:
    """The process name of a node's agent."""
    return f"agent-{node.name}"


def kubelet(node: Node) -> str:
    return f"kubelet-{node.name}"


def of_node(lab: Lab, node: Node) -> list[str]:
    """The names of a node's processes."""
    return [*([] if lab.spec.conflist else [agent(node)]), kubelet(node)]


def everything(lab: Lab) -> list[str]:
    nodes = [name for node in lab.spec.nodes for name in of_node(lab, node)]
    return [NATS, SERVE, BUS, *nodes]


def start_nats(lab: Lab) -> Record:
    """Start NATS. It knows the nodes' agents from its start, and everything else that connects."""
    ensure(lab.credentials, lab.spec.name, [agent_of(node.name) for node in lab.spec.nodes])
    command = [*PYTHON, "romana_bus.lab.cluster.nats", str(lab.directory / "nats"), lab.spec.name]
    return processes.start(lab, NATS, command)


def start_serve(lab: Lab) -> Record:
    return processes.start(lab, SERVE, [*PYTHON, "romana_bus.lab.cluster.serve", lab.spec.name])


def start_bus(lab: Lab) -> Record:
    """Start the watcher and the decider. They and the agents get the password of NATS in their environment:
    a command line can be read by all users."""
    which = ["--kubeconfig", lab.spec.kubeconfig] if lab.spec.kubeconfig else ["--server", lab.facts.server]
    topology = str(lab.directory / "topology.yaml")
    command = [
        *PYTHON,
        "romana_bus",
        "up",
        "--plain",
        "--topology",
        topology,
        "--cluster",
        lab.spec.name,
        "--store-size",
        STORE_SIZE,
        *which,
    ]
    return processes.start(lab, BUS, command, environment=_environment(lab, lab.nats().url))


def start_agent(lab: Lab, node: Node) -> Record:
    directory = lab.node(node.name)
    gateway = lab.spec.zone(node.zone).gateways[0]
    command = [
        *PYTHON, "romana_bus", "agent", "--node", node.name, "--cluster", lab.spec.name,
        "--run-dir", str(directory / "run"), "--state-dir", str(directory / "state"),
        "--timeout", PATIENCE,
    ]  # fmt: skip
    environment = _environment(lab, lab.nats().relayed(gateway))
    return processes.start(lab, agent(node), command, lab.spec.namespace(node.name), environment)


def _environment(lab: Lab, url: str) -> dict[str, str]:
    """How a process reaches NATS: it opens the credentials of its own role."""
    return {"ROMANA_NATS": url, "ROMANA_NATS_CREDS": str(lab.credentials)}


def start_install(lab: Lab, node: Node) -> Record:
    """Start the process that installs the plugin and the node's CNI configuration."""
    directory = lab.node(node.name)
    command = [
        *PYTHON, "romana_bus", "agent", "install-cni", "--bin-dir", str(directory / "bin"),
        "--conf-dir", str(directory / "net.d"), "--run-dir", str(directory / "run"),
    ]  # fmt: skip
    return processes.start(lab, f"install-{node.name}", command)


def start_kubelet(lab: Lab, node: Node) -> Record:
    command = [*PYTHON, "romana_bus.cli.lab.kubelet", lab.spec.name, node.name]
    return processes.start(lab, kubelet(node), command)


def make_node(lab: Lab, node: Node) -> None:
    """Create the node's directories, with the CNI configuration of --conflist if one is given."""
    directory = lab.node(node.name)
    for part in ("run", "state", "bin", "net.d", "sandboxes", "cni", "manifests"):
        (directory / part).mkdir(mode=0o700, parents=True, exist_ok=True)
    if lab.spec.conflist:
        with open(lab.spec.conflist, "rb") as file:
            write(directory / "net.d/10-lab.conflist", file.read())
