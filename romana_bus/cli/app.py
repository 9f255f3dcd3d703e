"""The command line's commands, in the order in which a newcomer meets them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from romana_bus import __version__
from romana_bus.cli.common import exit
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.errors import RomanaError

HELP = """\
A pod network control plane for Kubernetes whose only database is an event log.

It watches a cluster, gives each node a place in the network's topology and
each pod an address of that place, and keeps all of it as events in NATS
JetStream, where it can be looked at, followed, and looked back on.

To begin with:
  romana-bus lab demo             a cluster of network namespaces, with pods that
                                  ping: needs Linux and root
  romana-bus up --recording DIR   a recorded cluster: nothing else is needed
  romana-bus up                   the cluster of your kubeconfig
  romana-bus ipam show            who has which address, and what is free
  romana-bus events tail          what has happened, and what happens now
  romana-bus agent                on every node: its pods' links, and its routes

Without --nats URL, the commands of one user share a NATS server that is
started by the first of them and ends with the last; what it stored stays.
Exit codes: 0 done, 1 failed, 2 bad input and nothing was changed.
"""


def _default(value: Any) -> str | None:
    """As it would be written; nothing where nothing is the default."""
    return (
        None if value in ("", (), False, None) else f"{value:g}" if isinstance(value, float) else str(value)
    )


app = App(
    name="romana-bus",
    version=__version__,
    help=HELP,
    help_format="plaintext",
    group_parameters=OPTIONS,
    default_parameter=Parameter(show_default=_default),
    result_action="return_value",
)


def _docstring(path: str, name: str) -> str:
    """That of a function of a module of this package, which is read and not imported."""
    tree = ast.parse((Path(__file__).parent / f"{path}.py").read_bytes())
    [function] = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return ast.get_docstring(function) or ""


def _command(path: str, key: int, **options: Any) -> None:
    """A command that is a function: its module is imported when it is called."""
    name = path.rpartition("/")[2]
    where = f"romana_bus.cli.{path.replace('/', '.')}:{name}"
    app.command(where, name=name, help=_docstring(path, name), sort_key=key, **options)


_command("serve/up", 1)
_command("serve/watch", 2)
_command("serve/run", 3, usage="Usage: romana-bus run [OPTIONS] CONSUMER...")
_command("status/status", 7)
_command("status/resync", 8)
#: Groups of commands: where they are, their place among the commands, and what they are for.
GROUPS = {
    "agent": ("serve.agent", 4, "Wire the pods of this node: the agent of one node, and its CNI plugin."),
    "topology": (
        "topology.commands",
        4,
        "The topology: networks, the groups that split them, and which nodes belong where.",
    ),
    "ipam": (
        "ipam.commands",
        5,
        "Addresses: who has which, how full networks, groups and nodes are, and what is reserved.",
    ),
    "events": ("events.commands", 6, "The event log: what happened, and what led to it."),
    "lab": ("lab.app", 8, "A cluster of network namespaces on this machine, to try things on. As root."),
}
for _name, (_module, _key, _help) in GROUPS.items():
    app.command(f"romana_bus.cli.{_module}:app", name=_name, help=_help, sort_key=_key)
app.register_install_completion_command()


def call(arguments: Sequence[str]) -> int:
    """The exit code."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except (CycloptsError, RomanaError, OSError) as error:
        return exit.said(error)
    return 0
