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
JetStream, where you can follow them and search the past.

To begin with:
  romana-bus lab demo             a cluster of network namespaces, with pods that
                                  ping: needs Linux and root
  romana-bus up --recording DIR   a recorded cluster: nothing else is needed
  romana-bus up                   the cluster of your kubeconfig
  romana-bus ipam show            which pod has which address, and what is free
  romana-bus events tail          what has happened, and what happens now
  romana-bus agent                on every node: its pods' links, and its routes

Without --nats URL, the commands of one user share a NATS server. The first
command starts it, it ends with the last one, and what it stored stays.
Exit codes: 0 done, 1 failed, 2 bad input and nothing was changed.
"""


def _default(value: Any) -> str | None:
    """A default as the user would write it; None for an empty default."""
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
    """The docstring of a function in a module of this package. The module is parsed, not imported."""
    tree = ast.parse((Path(__file__).parent / f"{path}.py").read_bytes())
    [function] = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return ast.get_docstring(function) or ""


def _command(path: str, key: int, **options: Any) -> None:
    """Register a function as a command. Its module has the same name, the command a `-` for each `_` in it.
    `key` is its place in the list.

    The module is imported when the command is called. cyclopts shows the help that is given here in the list
    and on the command's own page: so it is the whole docstring.
    """
    name = path.rpartition("/")[2]
    where = f"romana_bus.cli.{path.replace('/', '.')}:{name}"
    app.command(where, name=name.replace("_", "-"), help=_docstring(path, name), sort_key=key, **options)


def _group(name: str, path: str, key: int, text: str) -> None:
    """Register a group of commands: the `app` of a module, which is imported when one of them is called."""
    app.command(f"romana_bus.cli.{path.replace('/', '.')}:app", name=name, help=text, sort_key=key)


_command("serve/up", 1)
_command("serve/watch", 2)
_command("serve/run", 3, usage="Usage: romana-bus run [OPTIONS] CONSUMER...")
_group("agent", "serve/agent", 4, "Wire the pods of this node: the agent of one node, and its CNI plugin.")
_group(
    "topology", "topology/commands", 4,
    "The topology: networks, the groups that split them, and which nodes belong where.",
)  # fmt: skip
_group(
    "ipam", "ipam/commands", 5,
    "Addresses: lookup, usage of networks, groups and nodes, and reserved ranges.",
)  # fmt: skip
_group("events", "events/commands", 6, "The event log: what happened, and what led to it.")
_command("status/status", 7)
_command("doctor/doctor", 7)
_command("support/support_bundle", 7)
_command("status/resync", 8)
_group(
    "connectivity", "connectivity/commands", 8,
    "Whether pods, nodes and the API server reach each other: probes in the cluster itself.",
)  # fmt: skip
_group("auth", "auth/commands", 8, "Identities on the NATS server: who may say and hear what.")
_group("store", "store/commands", 8, "The store: how large it may be, what it holds, and its settings.")
_group("lab", "lab/app", 8, "A cluster of network namespaces on this machine, to try things on. As root.")
app.register_install_completion_command()


def call(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit code."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except (CycloptsError, RomanaError, OSError) as error:
        return exit.report(error)
    return 0
