"""A few worker threads for blocking work."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

#: More would not help: the kernel changes links one at a time.
THREADS = 4


class Threads:
    """A pool of THREADS worker threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "cni")

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run `work(*arguments)` in a thread; returns its result, raises its error. Waits for it even if the
        caller is cancelled, since no other task may use the same object until then; raises CancelledError
        after that."""
        running = asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait((running,))
            raise

    def close(self) -> None:
        """Wait for the running work, and end the threads. Blocking."""
        self._pool.shutdown()
