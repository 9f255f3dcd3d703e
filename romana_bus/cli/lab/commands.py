"""`romana-bus lab`: a whole cluster on one Linux machine, as network namespaces."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from romana_bus.cli.common import console
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.options import Output
from romana_bus.cli.common.session import run
from romana_bus.cli.lab import up_down
from romana_bus.errors import BadInput
from romana_bus.lab.machine import netns
from romana_bus.lab.machine.directory import Lab
from romana_bus.lab.spec import Spec, check_name

app = App(
    name="lab",
    group_parameters=OPTIONS,
)


#: The name of a lab; in a shell that has sourced the `env` of a lab, that lab.
Named = Annotated[str, Parameter(env_var="ROMANA_LAB_NAME")]


@Parameter(name="*", group=OPTIONS)
@dataclass(frozen=True)
class Which:
    """Which lab."""

    name: Named = "lab"
    """The lab's name; several may be up at the same time."""

    def opened(self) -> Lab:
        """The lab. Raises BadInput if it is not up, or if this machine cannot have one."""
        check_machine()
        return Lab.open(check_name(self.name))


def check_machine() -> None:
    """Raises BadInput if this machine cannot have a lab."""
    if sys.platform != "linux":
        raise BadInput(
            f"a lab needs Linux network namespaces, and this is {sys.platform}: use a Linux machine"
        )
    if os.geteuid() != 0:
        raise BadInput("a lab needs network namespaces, which only root can create: use sudo")
    netns.required("ip", "ping")


@app.command(sort_key=1)
def up(
    *,
    name: str = "lab",
    zones: int = 2,
    nodes_per_zone: int = 2,
    ipv6: Annotated[bool, Parameter(negative="")] = False,
    kubeconfig: Path | None = None,
    conflist: Annotated[Path | None, Parameter(show=False)] = None,
    output: Output = Output(),
) -> None:
    """Bring a lab up: nodes with an agent each, in zones that a router joins, with a log and an API server.

    A lab consists of network namespaces, background processes, and files in
    /run/romana-bus-lab. `lab down` removes all of it.

    Parameters
    ----------
    name
        Name of the lab; several may be up at the same time.
    zones
        Number of subnets; each is a group of the topology, with its own prefix for pods.
    nodes_per_zone
        Number of nodes in each.
    ipv6
        Pods and nodes get an IPv6 address beside the IPv4 one.
    kubeconfig
        Register the nodes in this cluster, instead of at the lab's own small API server.
    """
    spec = Spec(
        name=name,
        zones=zones,
        nodes_per_zone=nodes_per_zone,
        ipv6=ipv6,
        kubeconfig=str(_existing("--kubeconfig", kubeconfig) or ""),
        conflist=str(_existing("--conflist", conflist) or ""),
    ).checked()
    check_machine()
    up_down.check_memory(spec)
    run(_up(spec, output), output)


def _existing(option: str, path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise BadInput(f"{option} {path}: there is no such file")
    return path and path.absolute()


async def _up(spec: Spec, output: Output) -> None:
    from romana_bus.cli.lab import summary

    made = await up_down.bring_up(spec, output)
    if output.json:
        console.as_json(summary.document(made))
    else:
        summary.show_lab(made)
        summary.show_commands(made)


@app.command(sort_key=9)
def down(*, name: Named = "lab", output: Output = Output()) -> None:
    """Take a lab down, in any state, and remove all of it.

    Parameters
    ----------
    name
        Which lab.
    """
    check_name(name)
    check_machine()
    run(_down(name, output), output)


async def _down(name: str, output: Output) -> None:
    from romana_bus.lab.cluster import down

    with contextlib.suppress(BadInput):
        await up_down.delete_nodes(Lab.open(name))
    removed = down.down(name)
    if output.json:
        console.as_json(removed._asdict())
    elif not removed:
        console.console.print(f"There is no lab {name}: nothing to remove.")
    else:
        namespaces = console.many(removed.nodes, "namespace")
        parts = [
            console.many(removed.processes, "process", "processes"),
            namespaces,
            console.many(removed.pods, "pod"),
        ]
        console.console.print(f"Lab {name} is down. Removed: {', '.join(parts)}.")


@app.command(sort_key=2)
def status(*, which: Which = Which(), output: Output = Output()) -> None:
    """Show a lab: which processes run, where, and which have ended."""
    from romana_bus.cli.lab import summary

    made = which.opened()
    if output.json:
        console.as_json(summary.document(made))
    else:
        summary.show_lab(made)
