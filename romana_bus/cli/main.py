"""`romana-bus`: the command line. Exit codes: 0 done, 1 failed, 2 bad input."""

from __future__ import annotations

import os
import sys

from cyclopts import App, CycloptsError

from romana_bus import __version__
from romana_bus.cli import events, ipam, run, status, topology, up, watch
from romana_bus.errors import BadInput, RomanaError

app = App(
    name="romana-bus",
    version=__version__,
    help="A pod network control plane for Kubernetes whose only database is an event log.",
    help_format="plaintext",
    result_action="return_value",
)
app.command(up.up)
app.command(watch.watch)
app.command(run.run)
app.command(topology.app)
app.command(ipam.app)
app.command(events.app)
app.command(status.status)
app.register_install_completion_command()


def main() -> None:
    """Run what the command line says, and exit."""
    try:
        app(exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        _complain(f"{_one_line(error)}. See {app.name[0]} --help")
        sys.exit(2)
    except RomanaError as error:
        for reason in error.reasons if isinstance(error, BadInput) else (str(error),):
            _complain(reason)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has seen enough
    except KeyboardInterrupt:
        sys.exit(130)


def _one_line(error: CycloptsError) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _complain(reason: str) -> None:
    sys.stderr.write(f"romana-bus: {reason}\n")


if __name__ == "__main__":
    main()
