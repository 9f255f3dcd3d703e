"""The command line's commands, in the order in which a newcomer meets them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from romana_bus import __version__
from romana_bus.cli.common import exit
from romana_bus.cli.common.options import OPTIONS
from romana_bus.cli.events import commands as events_commands
from romana_bus.cli.ipam import check, release, show, simulate
from romana_bus.cli.lab import commands as lab_commands
from romana_bus.cli.lab import demo, faults, ping, pods
from romana_bus.cli.serve import agent, run, up, watch
from romana_bus.cli.status import resync, status
from romana_bus.cli.topology import commands as topology_commands
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
app.command(up.up, sort_key=1)
app.command(watch.watch, sort_key=2)
app.command(run.run, sort_key=3, usage="Usage: romana-bus run [OPTIONS] CONSUMER...")
app.command(agent.app)
app.command(topology_commands.app)
app.command(show.app)
show.app.command(simulate.simulate)
show.app.command(check.check)
show.app.command(release.release)
app.command(events_commands.app)
app.command(status.status, sort_key=7)
app.command(resync.resync, sort_key=8)
app.command(lab_commands.app)
lab_commands.app.command(demo.demo, sort_key=1)
lab_commands.app.command(pods.app)
lab_commands.app.command(ping.ping, sort_key=4)
lab_commands.app.command(ping.matrix, sort_key=5)
lab_commands.app.command(ping.exec_, name="exec", sort_key=6)
lab_commands.app.command(faults.start, sort_key=7)
for _app in (faults.node_app, faults.link_app, faults.agent_app, faults.nats_app):
    lab_commands.app.command(_app)
app.register_install_completion_command()


def call(arguments: Sequence[str]) -> int:
    """The exit code."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except (CycloptsError, RomanaError, OSError) as error:
        return exit.said(error)
    return 0
