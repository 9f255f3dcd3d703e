"""`romana-bus`: entry point and exit of the process. It imports little before an interrupt is handled."""

from __future__ import annotations

import os
import sys

from romana_bus.runtime.process.stderr import make_lossy

#: The most columns and lines that a terminal can have.
WIDEST = "99999"


def main() -> None:
    """Run the command line, and exit."""
    _open_standard_streams()
    _fix_environment()
    # structlog would load it, and pygments with it, to draw tracebacks: 0.1 s and 3 MB for what nobody uses.
    sys.modules.setdefault("rich.traceback", None)  # type: ignore[arg-type]  # its import fails, as it may
    try:
        from romana_bus.cli.app import call
        from romana_bus.cli.common.terminal import print_traceback

        sys.excepthook = lambda _kind, error, _trace: print_traceback(error)
        code = call(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    except Exception as error:  # noqa: BLE001  every error is printed, a bug with its traceback
        from romana_bus.cli.common.exit import report

        code = report(error)
    sys.exit(_flushed(code))


def _flushed(code: int) -> int:
    """Flush stdout; returns the exit code. If it failed only at the interpreter's exit, the code would be
    120."""
    try:
        sys.stdout.flush()
    except OSError:
        from romana_bus.cli.common.exit import silence_stdout

        silence_stdout()
        return code or 1
    return code


def _open_standard_streams() -> None:
    """Make sure that all three streams exist and accept every character: a closed one is replaced by
    /dev/null (else a socket would get its number), and characters that cannot be encoded are written as
    escapes."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  until the process ends
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    make_lossy()


def _fix_environment() -> None:
    """Fix variables that libraries use when they are imported: a missing HOME, and COLUMNS and LINES that are
    not usable numbers."""
    if not os.environ.get("HOME"):
        os.environ["HOME"] = _home()
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name, "1")
        if not (value.isascii() and value.isdigit() and value.strip("0")):
            del os.environ[name]
        elif len(value) > len(WIDEST):
            os.environ[name] = WIDEST


def _home() -> str:
    """The user's home directory; without one /dev/null, so that only commands that need a home fail."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir or os.devnull
    except KeyError:
        return os.devnull


if __name__ == "__main__":
    main()
