"""A lab on its way up and down, step by step, as the commands show it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.errors import BadInput
from romana_bus.lab.machine.directory import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.cli.common.options import Output
    from romana_bus.lab.spec import Spec


def enough_memory(spec: Spec) -> None:
    """Raises BadInput: better than a machine that has none left."""
    known = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(known["MemAvailable"].split()[0]) >> 10
    if spec.memory > free:
        nodes = console.many(len(spec.nodes), "node")
        raise BadInput(f"{nodes} need about {spec.memory:,} MiB of memory, and {free:,} MiB are available")


async def raised(spec: Spec, output: Output) -> Lab:
    """A lab that is up; what was begun is taken down where that fails or is interrupted."""
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

    with steps("taking down what was begun"):
        await lower(made)
        down.down(made.spec.name)


async def lower(made: Lab) -> None:
    """Where the lab's nodes are another cluster's, that is told that they go."""
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
        console.hint(f"The API server still has the lab's nodes ({error}): kubectl delete node {names}")


class Steps:
    """A line for each step, with the time it took."""

    def __init__(self, output: Output) -> None:
        self._silent = output.json

    @contextlib.contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        if self._silent:
            yield
            return
        try:
            with console.console.status(Text(f"{what} ...")):  # of a string rich would read the markup
                yield
        except BaseException:
            self._say("✗" if console.console.encoding.startswith("utf") else "-", "red", what, began)
            raise
        self._say("✓" if console.console.encoding.startswith("utf") else "+", "green", what, began)

    def _say(self, mark: str, colour: str, what: str, began: float) -> None:
        took = console.dim(f"  {time.monotonic() - began:.1f} s")
        console.console.print(Text.assemble((mark, colour), f" {what}", took))
