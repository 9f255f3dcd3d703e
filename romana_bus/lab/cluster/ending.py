"""How the lab's background processes end: in order, when they are told to."""

from __future__ import annotations

import asyncio
import signal


async def signalled() -> None:
    """Until SIGTERM or SIGINT."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
