"""One node, switched off and on; NATS stopped and started; what has ended by itself, started again.

Off means off: the node's processes are killed, and its network namespace goes, with its link, its routes,
and its pods. What a disk would keep stays: the agent's state, the runtime's records.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from romana_bus.errors import BadInput
from romana_bus.lab.cluster import fabric, router, services, up, waiting
from romana_bus.lab.kubelet.sandboxes import Ground, read_records
from romana_bus.lab.machine import netns, processes

if TYPE_CHECKING:
    from romana_bus.lab.machine.directory import Place
    from romana_bus.lab.spec import Node


def is_on(place: Place, node: Node) -> bool:
    return netns.exists(place.spec.namespace(node.name))


def switch_off(place: Place, node: Node) -> int:
    """How many pods went with it. Raises BadInput where it is off already."""
    if not is_on(place, node) and not any(
        processes.alive(place, name) for name in services.of_node(place, node)
    ):
        raise BadInput(f"node {node.name} is off already: {place.command(f'node start {node.name}')}")
    pods = _clear(place, node)
    router.route_zone(place, place.spec.zone(node.zone))
    return pods


def _clear(place: Place, node: Node) -> int:
    """Whatever there is of a node: also where somebody has removed its namespace, and its processes go on
    in what has no name any more. How many pods went."""
    processes.kill(place, *services.of_node(place, node))
    own = place.spec.namespace(node.name)
    pods = netns.named(Ground(own, (), place.node(node.name), place.directory).prefix)
    processes.end(netns.processes([own, *pods]))
    fabric.cut(place.spec, node)
    for name in [*pods, own]:
        netns.delete(name)
    shutil.rmtree(place.node(node.name) / "run", ignore_errors=True)  # a tmpfs, on a real one
    return len(pods)


def switch_on(place: Place, node: Node) -> None:
    """Raises BadInput where it is on already."""
    if is_on(place, node):
        raise BadInput(f"node {node.name} is on already")
    _clear(place, node)
    fabric.build_node(place.spec, node)
    services.make_node(place, node)
    router.route_zone(place, place.spec.zone(node.zone))
    start_processes(place, node)


def start_processes(place: Place, node: Node) -> None:
    if not place.spec.conflist:
        services.start_agent(place, node)
    services.start_kubelet(place, node)


def pods_are_back(place: Place, node: Node) -> bool:
    """Whether every sandbox on record has its network."""
    return all(one.complete and netns.exists(one.netns) for one in read_records(place.node(node.name)))


def ended(place: Place) -> list[str]:
    """The processes that should run and do not; nodes that are off need none."""
    off = {
        name for node in place.spec.nodes if not is_on(place, node) for name in services.of_node(place, node)
    }
    running = processes.recorded(place)
    return [
        name
        for name in services.everything(place)
        if name not in off and not (name in running and running[name].alive)
    ]


def what_to_do(place: Place) -> str:
    """One sentence where a process has ended; '' where all run."""
    if not place.facts.up:
        return f"It is on its way up, or was left half up: then {place.command('down')}"
    names = ended(place)
    if not names:
        return ""
    if services.SERVE in names:
        return f"The API server has ended, and its objects with it: {place.command('down')}, then up again."
    return f"Ended: {', '.join(names)}. To start what has ended: {place.command('start')}"


async def start_ended(place: Place) -> list[str]:
    """What was started, or was stopped by a signal and goes on. Raises BadInput where that cannot help."""
    names = ended(place)
    if services.SERVE in names or not place.facts.up:
        raise BadInput(what_to_do(place))
    if services.NATS in names:
        await start_nats(place)
    if services.BUS in names:
        services.start_bus(place)
    for node in place.spec.nodes:
        if services.agent(node) in names:
            services.start_agent(place, node)
        if services.kubelet(node) in names:
            services.start_kubelet(place, node)
    return [*names, *processes.resume(place)]


async def stop_nats(place: Place) -> None:
    """Raises BadInput where it does not run."""
    if not processes.terminate(place, services.NATS):
        raise BadInput(f"NATS does not run: {place.command('nats start')}")
    await waiting.until(place, "NATS ends", lambda: up.nats_listens(place) is None)


async def start_nats(place: Place) -> None:
    """Raises BadInput where it runs."""
    if processes.alive(place, services.NATS):
        raise BadInput("NATS runs already")
    services.start_nats(place)
    await waiting.until(place, "NATS listens", lambda: up.nats_listens(place), services.NATS)
