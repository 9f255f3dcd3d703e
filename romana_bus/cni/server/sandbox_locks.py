"""Locks of sandboxes: the calls for one run one after another; what is no call keeps out of their way."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from romana_bus.cni.spec import Attached


class SandboxLocks:
    """One lock for all interfaces of a sandbox: a second one is refused because of the first."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def alone(self, container: str) -> AsyncIterator[None]:
        """Run when those before have ended."""
        self._users[container] += 1
        try:
            async with self._locks.setdefault(container, asyncio.Lock()):
                yield
        finally:
            self._users[container] -= 1
            if not self._users[container]:
                del self._users[container], self._locks[container]

    def is_busy(self, attached: Attached) -> bool:
        """Whether a call for its sandbox runs."""
        lock = self._locks.get(attached.container)
        return lock is not None and lock.locked()

    @contextlib.asynccontextmanager
    async def idle(self, attached: Iterable[Attached]) -> AsyncIterator[set[Attached]]:
        """Yields those for whose sandbox no call runs or waits; until the end, calls for them wait."""
        idle = {each for each in attached if each.container not in self._users}
        async with contextlib.AsyncExitStack() as stack:
            for container in {each.container for each in idle}:
                await stack.enter_async_context(self.alone(container))
            yield idle
