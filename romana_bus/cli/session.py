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
from romana_bus.cli import ending, show
from romana_bus.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from romana_bus.cli.options import Output, Serving

#: Seconds that the event loop may take to close once everything has ended.
CLOSE_WITHIN = 3.0


def run(main: Coroutine[Any, Any, None], output: Output | Serving) -> None:
    """Until it returns, or SIGINT, SIGTERM or SIGHUP cancels it. Raises RomanaError."""
    logs.configure(output.log_level, True if output.json else None)
    closing = _Closing()
    try:
        uvloop.run(_until_signalled(main, closing))
    finally:
        closing.timer.cancel()


async def _until_signalled(main: Coroutine[Any, Any, None], closing: _Closing) -> None:
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _stop, task)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
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


def _stop(task: asyncio.Task[None]) -> None:
    """The first signal ends it in order, one more at once."""
    if task.cancelling():
        show.leave_screen()
        os._exit(130)
    task.cancel()


class _Closing:
    """uvloop waits for a connection that nobody closed until its peer does: minutes, for nothing. So
    there is an end to that, with the exit code that it would have come to."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.timer = threading.Timer(CLOSE_WITHIN, self._end)
        self.timer.daemon = True

    def _end(self) -> None:
        code = ending.said(self.error) if self.error else 0
        sys.stdout.flush()
        os._exit(code)
