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


#: Which lab is meant, also where a shell has read its `env`.
Named = Annotated[str, Parameter(env_var="ROMANA_LAB_NAME")]


@Parameter(name="*", group=OPTIONS)
@dataclass(frozen=True)
class Which:
    """Which lab."""

    name: Named = "lab"
    """The lab's name; several may be up at the same time."""

    def opened(self) -> Lab:
        """Raises BadInput where it is not up, or cannot be."""
        able()
        return Lab.open(check_name(self.name))


def able() -> None:
    """Raises BadInput where there can be no lab."""
    if sys.platform != "linux":
        raise BadInput(f"a lab is made of Linux network namespaces, and this is {sys.platform}")
    if os.geteuid() != 0:
        raise BadInput("a lab is made of network namespaces, which only root may make: use sudo")
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

    It is in network namespaces, in processes in the background, and in /run/romana-bus-lab, and nowhere
    else; `lab down` leaves nothing of it.

    Parameters
    ----------
    name
        Several labs may be up at the same time.
    zones
        Subnets; each is a group of the topology, with a prefix of its own for pods.
    nodes_per_zone
        Nodes in each.
    ipv6
        Pods and nodes get an IPv6 address beside the IPv4 one.
    kubeconfig
        Make the nodes nodes of this cluster, instead of a small API server of the lab's own.
    """
    spec = Spec(
        name=name,
        zones=zones,
        nodes_per_zone=nodes_per_zone,
        ipv6=ipv6,
        kubeconfig=str(_existing("--kubeconfig", kubeconfig) or ""),
        conflist=str(_existing("--conflist", conflist) or ""),
    ).checked()
    able()
    up_down.enough_memory(spec)
    run(_up(spec, output), output)


def _existing(option: str, path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise BadInput(f"{option} {path}: there is no such file")
    return path and path.absolute()


async def _up(spec: Spec, output: Output) -> None:
    from romana_bus.cli.lab import summary

    made = await up_down.raised(spec, output)
    if output.json:
        console.as_json(summary.found(made))
    else:
        summary.show_lab(made)
        summary.show_commands(made)


@app.command(sort_key=9)
def down(*, name: Named = "lab", output: Output = Output()) -> None:
    """Take a lab down, in whatever state it is. Nothing of it is left.

    Parameters
    ----------
    name
        Which lab.
    """
    check_name(name)
    able()
    run(_down(name, output), output)


async def _down(name: str, output: Output) -> None:
    from romana_bus.lab.cluster import down

    with contextlib.suppress(BadInput):
        await up_down.lower(Lab.open(name))
    removed = down.down(name)
    if output.json:
        console.as_json(removed._asdict())
    elif not removed:
        console.console.print(f"Nothing is left of lab {name}.")
    else:
        spaces = console.many(removed.nodes, "namespace")
        parts = [
            console.many(removed.processes, "process", "processes"),
            spaces,
            console.many(removed.pods, "pod"),
        ]
        console.console.print(f"Lab {name} is down. Removed: {', '.join(parts)}.")


@app.command(sort_key=2)
def status(*, which: Which = Which(), output: Output = Output()) -> None:
    """Show a lab: what runs and where, and what does not."""
    from romana_bus.cli.lab import summary

    made = which.opened()
    if output.json:
        console.as_json(summary.found(made))
    else:
        summary.show_lab(made)
