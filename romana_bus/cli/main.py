"""`romana-bus`: where the process begins and ends. Little is imported until it can be interrupted in
good order."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run what the command line says, and exit."""
    _open_standard_streams()
    try:
        from romana_bus.cli.app import call
        from romana_bus.cli.terminal import print_traceback

        sys.excepthook = lambda _kind, error, _trace: print_traceback(error)
        code = call(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _open_standard_streams() -> None:
    """All three are there, and take every character: what is closed is replaced (a socket would get its
    number), and what cannot be written is written as an escape."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = open(0)  # noqa: SIM115  for as long as we live
    if sys.stdout is None:
        sys.stdout = open(1, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
