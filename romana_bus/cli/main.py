"""`romana-bus`: where the process begins and ends. Little is imported until it can be interrupted in
good order."""

from __future__ import annotations

import os
import sys

from romana_bus.runtime.stderr import make_lossy

#: Columns, and lines, of the largest terminal that we believe in.
WIDEST = "99999"


def main() -> None:
    """Run what the command line says, and exit."""
    _open_standard_streams()
    _mend_environment()
    try:
        from romana_bus.cli.app import call
        from romana_bus.cli.common.terminal import print_traceback

        sys.excepthook = lambda _kind, error, _trace: print_traceback(error)
        code = call(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    except Exception as error:  # noqa: BLE001  it is said, whole where it is our own defect
        from romana_bus.cli.common.exit import said

        code = said(error)
    sys.exit(_flushed(code))


def _flushed(code: int) -> int:
    """Write what is left in stdout. Where that fails at the interpreter's own exit, the code is 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return code or 1
    return code


def _open_standard_streams() -> None:
    """All three are there, and take every character: what is closed is replaced (a socket would get its
    number), and what cannot be written is written as an escape."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  for as long as we live
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    make_lossy()


def _mend_environment() -> None:
    """What libraries take for granted, already when they are imported: a home directory, and that the size of
    a terminal is a number that a line can have."""
    if not os.environ.get("HOME"):
        os.environ["HOME"] = _home()
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name, "1")
        if not (value.isascii() and value.isdigit() and value.strip("0")):
            del os.environ[name]
        elif len(value) > len(WIDEST):
            os.environ[name] = WIDEST


def _home() -> str:
    """That of the user; where there is none, a place in which nothing can be, so that only what needs it
    fails."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir or os.devnull
    except KeyError:
        return os.devnull


if __name__ == "__main__":
    main()
