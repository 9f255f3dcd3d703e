"""The end of the process: errors as lines on stderr, and the exit code.

0 done, 1 failed, 2 bad input (nothing was changed), 130 interrupted before it could end in order.
"""

from __future__ import annotations

import os
import select
import sys

from cyclopts import CycloptsError

from romana_bus.cli.common.terminal import print_error, print_traceback
from romana_bus.errors import BadInput, RomanaError


def report(error: BaseException) -> int:
    """Print an error of a command; returns the exit code. An error that cannot be caused from outside is a
    bug, and is printed with its traceback."""
    match error:
        case CycloptsError():
            return _say(2, _usage(error))
        case BadInput():
            return _say(2, *error.reasons)
        case RomanaError():
            return _say(error.exit_code, str(error))
        case BrokenPipeError() if stdout_has_no_reader():
            silence_stdout()  # the reader closed the pipe: that is not an error
            return 0
        case OSError() if str(error.filename).startswith(f"{os.devnull}/"):  # see main.py
            return _say(2, "there is no home directory: set HOME to a directory of your own")
        case OSError():
            return _say(1, _out_of_reach(error))
        case KeyboardInterrupt():
            return 130
        case RuntimeError() if "can't start new thread" in str(error):  # threading's
            return _say(1, "no more threads can be started here: raise the limit with ulimit -u")
    print_traceback(error)
    return 1


def _usage(error: CycloptsError) -> str:
    command = " ".join(("romana-bus", *(error.command_chain or ())))
    text = " ".join(str(error).split())
    if left := (error.unused_tokens if text.startswith("Unused Tokens") else None):
        text = f"{' '.join(left)}: more than {command} takes"
    text = text[0].lower() + text[1:] if text[1:2].islower() else text
    if text.endswith(", ..."):  # a list of commands that cyclopts cuts off
        text = text.removesuffix(", ...") + " and more"
    return f"{text.rstrip('.?')}{'?' if text.rstrip('.').endswith('?') else '.'} See {command} --help"


def stdout_has_no_reader() -> bool:
    """Whether the pipe behind stdout is closed: other pipes and sockets can break too."""
    poller = select.poll()
    poller.register(1, 0)
    return bool(poller.poll(0))


def _out_of_reach(error: OSError) -> str:
    """The text for an OSError: a full disk behind stdout, a file system that disappeared ..."""
    reason = error.strerror or str(error) or type(error).__name__
    try:
        sys.stdout.flush()
    except OSError:
        silence_stdout()
        return f"the output cannot be written: {reason}"
    return f"{error.filename}: {reason}" if error.filename else reason


def silence_stdout() -> None:
    """Drop what is in the buffer of stdout, so that it does not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _say(code: int, *reasons: str) -> int:
    for reason in reasons:
        print_error(reason)
    return code
