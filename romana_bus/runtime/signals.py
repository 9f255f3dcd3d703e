"""Run a process until SIGTERM or SIGINT, and end it in order."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any

import uvloop

from romana_bus.errors import RomanaError
from romana_bus.printable import printable_lines
from romana_bus.runtime import logs

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def signalled() -> None:
    """Returns at SIGTERM or SIGINT."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()


def run(main: Coroutine[Any, Any, None]) -> int:
    """The exit code."""
    logs.configure("info")
    try:
        uvloop.run(main)
    except RomanaError as error:
        sys.stderr.write(f"{printable_lines(str(error))}\n")
        return error.exit_code
    return 0
