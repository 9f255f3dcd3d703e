"""Tasks that end: the first of several, or one that is told to.

Two things of Python 3.11 are avoided throughout: `suppress(CancelledError)` around the wait for another
task, and `asyncio.wait_for`. Both can swallow a cancellation that was meant for us.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

#: Seconds of a clock that never goes back; and six characters that nobody else has. By name of this module,
#: so that a simulation can have them its way.
monotonic = time.monotonic


def nonce() -> str:
    return secrets.token_hex(3)


async def until_set(event: asyncio.Event, seconds: float | None) -> None:
    """Until it is set, or so long (None: for ever), whichever is first."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def stop(task: asyncio.Task[Any] | asyncio.Future[Any] | None) -> None:
    """Cancel it and wait until it has ended, with whatever; its outcome is not looked at."""
    if task is None:
        return
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()


async def until_one_ends(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all; when one returns or raises, cancel the others, wait for them, and do the same."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            await stop(task)
