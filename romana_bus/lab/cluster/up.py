"""Brings a lab up: its network, NATS, the API server, the bus, the nodes, and the router's routes.

Independent processes start at the same time, since most of the time is spent on starting Python. If something
fails, the caller cleans up with `down.down`.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from romana_bus.errors import Failed
from romana_bus.kubernetes.kubeconfig import kubeconfig
from romana_bus.lab.cluster import fabric, services, waiting
from romana_bus.lab.kubeapi.resources import NODES
from romana_bus.lab.kubelet.node import is_ready, why_not_ready
from romana_bus.lab.machine import processes
from romana_bus.lab.machine.directory import NatsAccess, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from romana_bus.kubernetes.client import KubeClient
    from romana_bus.lab.machine.directory import Lab

    #: Shows the user what is being done, while the context is open.
    Step = Callable[[str], AbstractContextManager[None]]


#: Additional seconds that a lab may take for each node.
_FOR_A_NODE = 3.0


async def start_services(lab: Lab, step: Step) -> None:
    """Start everything that the nodes need. Raises Failed."""
    spec = lab.spec
    with step(f"network: a router, {_many(spec.zones, 'zone')}, {_many(len(spec.nodes), 'node')}"):
        fabric.build_router(spec)
        for node in spec.nodes:
            fabric.build_node(spec, node)
            services.make_node(lab, node)
    with step("NATS"):
        services.start_nats(lab)
        services.start_serve(lab)
        await waiting.until(lab, "NATS to listen", lambda: nats_listens(lab), services.NATS)
    with step("API server"):
        await _learn_server(lab)
    write(lab.directory / "topology.yaml", yaml.safe_dump(spec.topology(), sort_keys=False))
    write(lab.directory / "env", _environment(lab))
    services.start_bus(lab)


async def start_nodes(lab: Lab, client: KubeClient, step: Step) -> None:
    """Start the nodes' processes and wait until the nodes are ready. Raises Failed."""
    spec = lab.spec
    with step("nodes: " + ("kubelets" if spec.conflist else "agents and kubelets")):
        if not spec.conflist:
            installs = [services.start_install(lab, node).name for node in spec.nodes]
            for node in spec.nodes:
                services.start_agent(lab, node)
            await waiting.ended(lab, *installs)
            _check_installed(lab)
        for node in spec.nodes:
            services.start_kubelet(lab, node)
        await nodes_ready(lab, client, {node.name for node in spec.nodes})
    with step("the router's routes, one for each zone"):
        await _route_zones(lab)
    lab.learn(up=True)


def _many(number: int, one: str) -> str:
    return f"{number} {one}{'s' * (number != 1)}"


def _check_installed(lab: Lab) -> None:
    for node in lab.spec.nodes:
        if not any((lab.node(node.name) / "net.d").iterdir()):
            words = processes.last_words(lab, f"install-{node.name}")
            raise Failed(f"the CNI plugin of node {node.name} was not installed: {words}")


async def nodes_ready(lab: Lab, client: KubeClient, names: set[str]) -> None:
    """Wait until the nodes are ready. Raises Failed, with the nodes' own reasons."""
    why: dict[str, str] = {}

    async def all_are() -> bool:
        shown = {node["metadata"]["name"]: node for node in await client.objects(NODES)}
        missing = [name for name in sorted(names) if name not in shown or not is_ready(shown[name])]
        why.clear()
        why.update(
            (name, why_not_ready(shown[name]) if name in shown else "not registered") for name in missing
        )
        return not missing

    nodes = [node for node in lab.spec.nodes if node.name in names]
    needed = [services.BUS, *(name for node in nodes for name in services.of_node(lab, node))]
    try:
        within = waiting.WITHIN + _FOR_A_NODE * len(nodes)
        await waiting.until(lab, "all nodes to be ready", all_are, *needed, within=within)
    except Failed as error:
        reasons = "; ".join(f"{name}: {text}" for name, text in why.items())
        raise Failed(f"{error} ({reasons})" if reasons else str(error)) from None


def nats_listens(lab: Lab) -> NatsAccess | None:
    try:
        access = lab.nats()
        with socket.create_connection(("127.0.0.1", access.port), 1.0):
            return access
    except (OSError, Failed):
        return None


async def _learn_server(lab: Lab) -> None:
    if lab.spec.kubeconfig:
        return
    file = lab.directory / "server"
    await waiting.until(lab, "the API server to listen", file.exists, services.SERVE)
    server = file.read_text()
    lab.learn(server=server)
    write(lab.directory / "kubeconfig", kubeconfig(server, name=lab.spec.name))


def kubeconfig_file(lab: Lab) -> str:
    return lab.spec.kubeconfig or str(lab.directory / "kubeconfig")


def _environment(lab: Lab) -> str:
    """The text of `env`, for a shell. It does not set ROMANA_LAB: that would mark the shell as a process of
    the lab, which `down` kills."""
    return (
        f"# . this, and `romana-bus` and `kubectl` mean lab {lab.spec.name}\n"
        f"export ROMANA_LAB_NAME='{lab.spec.name}'\n"
        f"export ROMANA_NATS='{lab.nats().url}'\n"
        f"export ROMANA_NATS_CREDS='{lab.credentials}'\n"
        f"export ROMANA_CLUSTER='{lab.spec.name}'\n"
        f"export KUBECONFIG='{kubeconfig_file(lab)}'\n"
        "export ROMANA_CONNECTIVITY_SKIP=hostport  # the nodes' plugin is not chained with portmap\n"
        f"command -v romana-bus >/dev/null || PATH=\"$PATH\":'{Path(sys.executable).parent}'\n"
    )


async def _route_zones(lab: Lab) -> None:
    def all_have() -> bool:
        known = lab.prefixes()
        return all(known.get(zone.name) for zone in lab.spec.zone_list)

    await waiting.until(lab, "every zone to have its prefix", all_have, services.BUS, services.SERVE)
