"""Brings a lab up and takes it down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from romana_bus.cli.common import console
from romana_bus.cli.common.steps import Steps
from romana_bus.errors import BadInput
from romana_bus.lab.machine.directory import Lab

if TYPE_CHECKING:
    from romana_bus.cli.common.options import Output
    from romana_bus.lab.spec import Spec


def check_memory(spec: Spec) -> None:
    """Raises BadInput if the lab would use more memory than the machine has left."""
    known = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(known["MemAvailable"].split()[0]) >> 10
    if spec.memory > free:
        nodes = console.many(len(spec.nodes), "node")
        raise BadInput(
            f"{nodes} need about {spec.memory:,} MiB of memory, and {free:,} MiB are free: use fewer"
        )


async def bring_up(spec: Spec, output: Output) -> Lab:
    """Bring a lab up. If that fails or is interrupted, everything is taken down again."""
    from romana_bus.cli.lab.kubelet import client_of
    from romana_bus.lab.cluster import up

    made = Lab.make(spec)
    steps = Steps(output)
    try:
        await up.start_services(made, steps)
        async with client_of(made) as client:
            await up.start_nodes(made, client, steps)
    except BaseException:
        await undo(made, steps)
        raise
    return made


async def undo(made: Lab, steps: Steps) -> None:
    from romana_bus.lab.cluster import down

    with steps("taking the lab down again"):
        await delete_nodes(made)
        down.down(made.spec.name)


async def delete_nodes(made: Lab) -> None:
    """Delete the lab's nodes from the cluster of `--kubeconfig`, if they are registered there."""
    from romana_bus.cli.lab.kubelet import client_of
    from romana_bus.errors import RomanaError
    from romana_bus.lab.cluster import services
    from romana_bus.lab.kubeapi.resources import NODES
    from romana_bus.lab.machine import processes

    if not made.spec.kubeconfig:
        return
    processes.kill(made, *(services.kubelet(node) for node in made.spec.nodes))
    try:
        async with client_of(made) as client:
            for node in made.spec.nodes:
                await client.delete(NODES, "", node.name)
    except RomanaError as error:
        names = " ".join(node.name for node in made.spec.nodes)
        console.hint(f"The API server still has the lab's nodes ({error}): run kubectl delete node {names}")
