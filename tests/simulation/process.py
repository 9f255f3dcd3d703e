"""A process of the simulation: it is killed, stopped and cut off from outside, and started again. It must
never end by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from romana_bus.bus.api import BusError
from romana_bus.events import ROLES
from tests.simulation.log.client import Client
from tests.simulation.loop import Mark

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine
    from typing import Any

    from tests.simulation.log.server import Server

    Main = Callable[["Process"], Coroutine[Any, Any, None]]


class Process:
    """`skew`: of its machine's wall clock, seconds. `ended`: why it ended by itself, which is a failure."""

    def __init__(self, name: str, server: Server, chance: random.Random, skew: float, main: Main) -> None:
        self.name, self.server, self.chance, self.skew = name, server, chance, skew
        self.ended = ""
        self.starts = 0
        self.store: Client
        self._main = main
        self.mark: Mark
        self._all: list[asyncio.Task[None]] = []
        self.start()

    @property
    def holder(self) -> str:
        return f"{self.name}-{self.starts}"

    @property
    def runs(self) -> bool:
        return not self.mark.killed and not self.mark.stopped

    def start(self) -> None:
        self.starts += 1
        self.mark = Mark()
        self.store = Client(self.server, self.chance, self.skew)
        self._all.append(
            asyncio.get_running_loop().create_task(self._run(), name=self.name, context=self.mark.context)
        )

    def kill(self) -> None:
        self.mark.kill()
        self.store.kill()

    async def _run(self) -> None:
        mark = self.mark
        try:
            await self._prepare()
            probe = asyncio.create_task(self.store.probe())
            await self._main(self)
            probe.cancel()
            self.ended = f"{self.name} returned"
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is
            if not mark.killed:
                self.ended = f"{self.name}: {type(error).__name__}: {error}"

    async def _prepare(self) -> None:
        """As a container is started again until it can begin."""
        while True:
            try:
                await self.store.prepare(ROLES)
            except BusError:
                await asyncio.sleep(0.5)
            else:
                return
