"""`romana-bus lab node`, `link`, `agent` and `nats`: faults of a data centre, and their repair."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from romana_bus.cli.common import console
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.options import Output
from romana_bus.cli.common.session import run
from romana_bus.cli.common.steps import Steps
from romana_bus.cli.lab.commands import Which
from romana_bus.errors import BadInput
from romana_bus.lab.cluster import fabric, node_lifecycle, power, services, up, waiting
from romana_bus.lab.machine import processes
from romana_bus.lab.machine.directory import Lab
from romana_bus.lab.spec import Node


def _group(name: str, text: str) -> App:
    return App(name=name, help=text, group_parameters=OPTIONS, sort_key=7)


node_app = _group("node", "Switch a node off, and on again.")
link_app = _group("link", "Cut a node off from the others and from NATS, and connect it again.")
agent_app = _group("agent", "Kill a node's agent, and start it again.")
nats_app = _group("nats", "Stop NATS for all nodes, and start it again.")

NodeName = Annotated[str, Parameter(help="Which node, such as a1.")]


def start(*, which: Which = Which(), output: Output = Output()) -> None:
    """Start the processes of a lab that have ended, and continue those that were stopped.

    Nodes that are off stay off. If the API server has ended, its objects are
    lost, and the lab can only be taken down.
    """
    lab = which.opened()
    run(_start(lab, output), output)


async def _start(lab: Lab, output: Output) -> None:
    started = await power.start_ended(lab)
    text = f"Started: {', '.join(started)}." if started else "All processes run already."
    _say(output, {"started": started}, text)


@node_app.command(name="kill", sort_key=1)
def node_kill(node: NodeName, *, which: Which = Which(), output: Output = Output()) -> None:
    """Switch a node off, as a power cut does: its processes, its pods, its link and its routes are gone."""
    lab = which.opened()
    run(_node_kill(lab, lab.spec.node(node), output), output)


async def _node_kill(lab: Lab, node: Node, output: Output) -> None:
    from romana_bus.cli.lab.kubelet import client_of

    pods = power.switch_off(lab, node)
    async with client_of(lab) as client:
        await node_lifecycle.lose(client, node.name)
    _say(
        output,
        {"node": node.name, "pods": pods},
        f"Node {node.name} is off, with {console.many(pods, 'pod')}.",
    )


@node_app.command(name="start", sort_key=2)
def node_start(node: NodeName, *, which: Which = Which(), output: Output = Output()) -> None:
    """Switch a node on again, and wait until it is ready and its pods are back."""
    lab = which.opened()
    run(_node_start(lab, lab.spec.node(node), output), output)


async def _node_start(lab: Lab, node: Node, output: Output) -> None:
    from romana_bus.cli.lab.kubelet import client_of

    steps = Steps(output)
    power.switch_on(lab, node)
    needed = services.of_node(lab, node)
    async with client_of(lab) as client:
        with steps(f"node {node.name} is ready"):
            await up.nodes_ready(lab, client, {node.name})
        with steps("its pods are back"):
            await waiting.until(lab, "its pods to be back", lambda: power.pods_are_back(lab, node), *needed)
    _say(output, {"node": node.name}, f"Node {node.name} is on.")


@link_app.command(name="cut", sort_key=1)
def link_cut(node: NodeName, *, which: Which = Which(), output: Output = Output()) -> None:
    """Unplug a node from its zone. Its pods and its agent keep running, and reach only each other.

    Its kubelet, which is outside the lab's network, still reaches the API server.
    """
    lab = which.opened()
    fabric.unplug(lab.spec, _on(lab, node))
    _say(output, {"node": node, "linked": False}, f"Node {node} is cut off.")


@link_app.command(name="mend", sort_key=2)
def link_mend(node: NodeName, *, which: Which = Which(), output: Output = Output()) -> None:
    """Plug the node in again."""
    lab = which.opened()
    fabric.plug(lab.spec, _on(lab, node))
    _say(output, {"node": node, "linked": True}, f"Node {node} is connected again.")


@agent_app.command(name="kill", sort_key=1)
def agent_kill(node: NodeName, *, which: Which = Which(), output: Output = Output()) -> None:
    """Kill a node's agent with SIGKILL. Its pods and routes stay."""
    lab = which.opened()
    target = _with_agent(lab, node)
    if not processes.kill(lab, services.agent(target)):
        raise BadInput(
            f"the agent of {node} does not run: start it with {lab.command(f'agent start {node}')}"
        )
    _say(output, {"node": node}, f"The agent of {node} was killed.")


@agent_app.command(name="start", sort_key=2)
def agent_start(node: NodeName, *, which: Which = Which(), output: Output = Output()) -> None:
    """Start a node's agent again."""
    lab = which.opened()
    target = _with_agent(lab, node)
    if processes.alive(lab, services.agent(target)):
        raise BadInput(f"the agent of {node} is running already")
    record = services.start_agent(lab, target)
    _say(output, {"node": node, "pid": record.pid}, f"The agent of {node} runs, pid {record.pid}.")


def _on(lab: Lab, name: str) -> Node:
    """A node that is on. Raises BadInput."""
    node = lab.spec.node(name)
    if not power.is_on(lab, node):
        raise BadInput(f"node {name} is off: start it with {lab.command(f'node start {name}')}")
    return node


def _with_agent(lab: Lab, name: str) -> Node:
    """Raises BadInput."""
    if lab.spec.conflist:
        raise BadInput(
            f"the nodes of lab {lab.spec.name} have no agents, since it was brought up with --conflist"
        )
    return _on(lab, name)


@nats_app.command(name="stop", sort_key=1)
def nats_stop(*, which: Which = Which(), output: Output = Output()) -> None:
    """Stop the NATS server, for all nodes. Pods still reach each other."""
    run(_nats_stop(which.opened(), output), output)


async def _nats_stop(lab: Lab, output: Output) -> None:
    await power.stop_nats(lab)
    _say(output, {"nats": False}, "NATS is stopped. Its store stays.")


@nats_app.command(name="start", sort_key=2)
def nats_start(*, which: Which = Which(), output: Output = Output()) -> None:
    """Start the NATS server again, with its store."""
    run(_nats_start(which.opened(), output), output)


async def _nats_start(lab: Lab, output: Output) -> None:
    await power.start_nats(lab)
    _say(output, {"nats": True}, "NATS is running.")


def _say(output: Output, document: dict[str, object], text: str) -> None:
    if output.json:
        console.as_json(document)
    else:
        console.console.print(text)
