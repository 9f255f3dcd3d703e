"""Work that blocks, in a few threads of our own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

#: The kernel changes links one by one anyway.
THREADS = 4


class Threads:
    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "cni")

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """What is begun is waited for, also by one who is cancelled: nobody else may touch the same
        meanwhile."""
        running = asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait((running,))
            raise

    def close(self) -> None:
        self._pool.shutdown()
