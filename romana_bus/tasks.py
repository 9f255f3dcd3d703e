"""Ending tasks: stop one and wait for it, or run several until the first one ends.

The project uses neither `suppress(CancelledError)` around the wait for another task nor `asyncio.wait_for`:
in Python 3.11 both can swallow a cancellation of the waiting task itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

#: Seconds of a clock that never goes back. Callers use `tasks.monotonic` and `tasks.nonce`, so that a
#: simulation can replace them.
monotonic = time.monotonic


def nonce() -> str:
    """Six random hexadecimal digits."""
    return secrets.token_hex(3)


async def until_set(event: asyncio.Event, seconds: float | None) -> None:
    """Returns when the event is set, or after `seconds` (None: no limit)."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def stop(task: asyncio.Task[Any] | asyncio.Future[Any] | None) -> None:
    """Cancel a task and wait until it has ended; its result or exception is ignored."""
    if task is None:
        return
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()


async def until_one_ends(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all; when one ends, cancel the others and wait for them. Raises what the first one raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            await stop(task)
