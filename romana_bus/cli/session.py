"""Running a command's coroutine: signals end it in order, errors become one line and an exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import uvloop

from romana_bus import logs
from romana_bus.bus.api import BusError, Closed
from romana_bus.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from romana_bus.cli.options import Output, Serving

#: Seconds that the event loop may take to close once everything has ended.
CLOSE_WITHIN = 3.0


def run(main: Coroutine[Any, Any, None], output: Output | Serving) -> None:
    """Until it returns, or SIGINT or SIGTERM cancels it. Raises RomanaError."""
    logs.configure(output.log_level, True if output.json else None)
    try:
        uvloop.run(_until_signalled(main))
    except Closed as error:
        raise Failed(f"NATS has closed the connection for good: {error}") from None
    except BusError as error:
        raise Failed(f"the log cannot be used: {error}") from None


async def _until_signalled(main: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop, task)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
    finally:
        _give_up_later()


def _stop(task: asyncio.Task[None]) -> None:
    """The first signal ends it in order, one more at once."""
    if task.cancelling():
        os._exit(130)
    task.cancel()


def _give_up_later() -> None:
    """uvloop waits for a connection that nobody closed until its peer does: minutes, for nothing."""

    def end() -> None:
        sys.stdout.flush()
        os._exit(0)

    timer = threading.Timer(CLOSE_WITHIN, end)
    timer.daemon = True
    timer.start()
