"""Switches one node off and on, stops and starts NATS, and restarts processes that have ended by themselves.

Switching off is a power cut: the node's processes are killed, and its network namespace is removed, with its
link, its routes and its pods. What a disk would keep stays: the agent's state and the runtime's records.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from romana_bus.errors import BadInput
from romana_bus.lab.cluster import fabric, router, services, up, waiting
from romana_bus.lab.kubelet.sandboxes import Ground, read_records
from romana_bus.lab.machine import netns, processes

if TYPE_CHECKING:
    from romana_bus.lab.machine.directory import Lab
    from romana_bus.lab.spec import Node


def is_on(lab: Lab, node: Node) -> bool:
    return netns.exists(lab.spec.namespace(node.name))


def switch_off(lab: Lab, node: Node) -> int:
    """Switch the node off; returns how many pods it had. Raises BadInput if it is off already."""
    if not is_on(lab, node) and not any(processes.alive(lab, name) for name in services.of_node(lab, node)):
        raise BadInput(
            f"node {node.name} is off already: start it with {lab.command(f'node start {node.name}')}"
        )
    pods = _clear(lab, node)
    router.route_zone(lab, lab.spec.zone(node.zone))
    return pods


def _clear(lab: Lab, node: Node) -> int:
    """Remove the node's processes, namespaces and link, also if its namespace has no name any more but
    processes still run in it. Returns how many pods it had."""
    processes.kill(lab, *services.of_node(lab, node))
    own = lab.spec.namespace(node.name)
    pods = netns.named(Ground(own, (), lab.node(node.name), lab.directory).prefix)
    processes.end(netns.processes([own, *pods]))
    fabric.cut(lab.spec, node)
    for name in [*pods, own]:
        netns.delete(name)
    shutil.rmtree(lab.node(node.name) / "run", ignore_errors=True)  # a tmpfs on a real node
    return len(pods)


def switch_on(lab: Lab, node: Node) -> None:
    """Switch the node on. Raises BadInput if it is on already."""
    if is_on(lab, node):
        raise BadInput(f"node {node.name} is on already")
    _clear(lab, node)
    fabric.build_node(lab.spec, node)
    services.make_node(lab, node)
    router.route_zone(lab, lab.spec.zone(node.zone))
    start_processes(lab, node)


def start_processes(lab: Lab, node: Node) -> None:
    if not lab.spec.conflist:
        services.start_agent(lab, node)
    services.start_kubelet(lab, node)


def pods_are_back(lab: Lab, node: Node) -> bool:
    """Whether every recorded sandbox of the node has its network."""
    return all(
        sandbox.complete and netns.exists(sandbox.netns) for sandbox in read_records(lab.node(node.name))
    )


def ended(lab: Lab) -> list[str]:
    """The names of the processes that should run but have ended. Nodes that are off need no processes."""
    off = {name for node in lab.spec.nodes if not is_on(lab, node) for name in services.of_node(lab, node)}
    running = processes.recorded(lab)
    return [
        name
        for name in services.everything(lab)
        if name not in off and not (name in running and running[name].alive)
    ]


def what_to_do(lab: Lab) -> str:
    """Advice for the user on how to restart what has ended; '' if all processes run."""
    if not lab.facts.up:
        return f"It is being brought up, or was left half up: in that case run {lab.command('down')}"
    names = ended(lab)
    if not names:
        return ""
    if services.SERVE in names:
        return (
            f"The API server has ended, and its objects are lost: run {lab.command('down')}, then up again."
        )
    return f"Ended: {', '.join(names)}. To start what has ended: {lab.command('start')}"


async def start_ended(lab: Lab) -> list[str]:
    """Start the processes that have ended, and resume those that are stopped; returns their names. Raises
    BadInput if that cannot help."""
    names = ended(lab)
    if services.SERVE in names or not lab.facts.up:
        raise BadInput(what_to_do(lab))
    if services.NATS in names:
        await start_nats(lab)
    if services.BUS in names:
        services.start_bus(lab)
    for node in lab.spec.nodes:
        if services.agent(node) in names:
            services.start_agent(lab, node)
        if services.kubelet(node) in names:
            services.start_kubelet(lab, node)
    return [*names, *processes.resume(lab)]


async def stop_nats(lab: Lab) -> None:
    """Stop NATS. Raises BadInput if it is not running."""
    if not processes.terminate(lab, services.NATS):
        raise BadInput(f"NATS does not run: start it with {lab.command('nats start')}")
    await waiting.until(lab, "NATS to end", lambda: up.nats_listens(lab) is None)


async def start_nats(lab: Lab) -> None:
    """Start NATS. Raises BadInput if it runs already."""
    if processes.alive(lab, services.NATS):
        raise BadInput("NATS is running already")
    services.start_nats(lab)
    await waiting.until(lab, "NATS to listen", lambda: up.nats_listens(lab), services.NATS)
