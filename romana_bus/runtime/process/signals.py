"""Run a process until a signal ends it in order. The one place that handles signals which end a process.

SIGPIPE is ignored, as Python does: a write into a closed pipe raises BrokenPipeError where it is made.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import uvloop

from romana_bus.errors import RomanaError
from romana_bus.printable import printable_lines
from romana_bus.runtime.process import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

#: Ctrl-C, an ordinary kill, and the end of the terminal.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: The exit code of a process that could not end in order.
INTERRUPTED = 130


async def until_signalled(main: Coroutine[Any, Any, None], give_up: Callable[[], None] | None = None) -> None:
    """Run `main` until it returns, or until one of the signals cancels it. Raises what `main` raises.

    With `give_up`, a second signal calls it and ends the process at once; else more signals change
    nothing."""
    task, stopping = asyncio.ensure_future(main), asyncio.Event()

    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            task.cancel()
        elif give_up:
            try:
                give_up()
            finally:
                os._exit(INTERRUPTED)

    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise


def run(main: Coroutine[Any, Any, None]) -> int:
    """Run a background process of the lab; returns its exit code."""
    logs.configure("info")
    try:
        uvloop.run(until_signalled(main))
    except RomanaError as error:
        sys.stderr.write(f"{printable_lines(str(error))}\n")
        return error.exit_code
    return 0
