"""Runs a command's coroutine: signals cancel it, errors become one line and an exit code."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import threading
from typing import TYPE_CHECKING, Any

import uvloop

from romana_bus.bus.api import BusError, Closed
from romana_bus.cli.common import console, exit
from romana_bus.errors import BadInput, Failed
from romana_bus.runtime.process import logs
from romana_bus.runtime.process.signals import until_signalled

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from romana_bus.cli.common.options import Output

#: The descriptors that a command needs.
DESCRIPTORS = 64
#: Seconds that the event loop may take to close once everything has ended.
CLOSE_WITHIN = 3.0
#: Seconds until it is noticed that nobody reads stdout.
NOTICED_WITHIN = 0.5


def configure_logs(output: Output) -> None:
    """As the options say: JSON where the output is."""
    logs.configure(output.log_level, True if output.json else None)


def run(main: Coroutine[Any, Any, None], output: Output) -> None:
    """Run `main` until it returns, or SIGINT, SIGTERM or SIGHUP cancels it. Raises RomanaError."""
    configure_logs(output)
    try:
        _claim_descriptors()
    except BadInput:
        main.close()
        raise
    closing = _Closing()
    try:
        uvloop.run(_run(main, closing))
    finally:
        closing.timer.cancel()


def _claim_descriptors() -> None:
    """Raise the limit of open files if it is too low: without descriptors the event loop fails silently.
    Raises BadInput."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= DESCRIPTORS:
        return
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        raise BadInput(
            f"no more than {hard} files can be open at once here: raise the limit with ulimit -n 1024"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))


async def _run(main: Coroutine[Any, Any, None], closing: _Closing) -> None:
    try:
        await until_signalled(main, console.leave_screen)
    except Closed as error:
        closing.error = Failed(f"NATS has closed the connection for good: {error}")
    except BusError as error:
        closing.error = Failed(f"the log cannot be used: {error}")
    except Exception as error:
        closing.error = error
        raise
    finally:
        closing.timer.start()
    if closing.error:
        raise closing.error


async def until_no_reader() -> None:
    """Returns when nobody reads stdout any more (`| head -1`): who follows the log and prints seldom would
    notice only with the next line, perhaps never."""
    while not exit.stdout_has_no_reader():
        await asyncio.sleep(NOTICED_WITHIN)


class _Closing:
    """Ends the process if the event loop does not close in time, with the same exit code. uvloop waits for a
    connection that was not closed here until its peer closes it, which can take minutes."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.timer = threading.Timer(CLOSE_WITHIN, self._end)
        self.timer.daemon = True

    def _end(self) -> None:
        code = 1
        try:
            code = exit.report(self.error) if self.error else 0
            sys.stdout.flush()
        except OSError as error:
            code = code or exit.report(error)
        finally:
            os._exit(code)
