"""The probe: checks that the log answers over our connection, and moves it to another server if not.

An open connection is no proof: a server that is cut off from its peers answers pings, but neither stores nor
delivers messages. So the probe asks every second where the streams end. After GOOD_FOR seconds without an
answer, it asks the other servers of the cluster too, each over a connection of its own, and ours once more.
The client moves to the first server that answers. It stays if none answers, or if ours answers as well: then
the log had no leader on any server.

Reads: the streams' INFO, which their leaders answer. Owns: the choice of the server.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from romana_bus import metrics
from romana_bus.bus.api import BusError, Unavailable
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from romana_bus.bus.jetstream.fastlane import Wire

log = structlog.get_logger(__name__)

#: Seconds: between two requests; for which an answer counts; within which another server has to answer; and
#: by which ours may be later.
EVERY, GOOD_FOR, ELSEWHERE_WITHIN, LATER = 1.0, 3.0, 2.5, 0.75


class ProbedStore(Protocol):
    """What the probe needs of a store."""

    wire: Wire
    last_error: str

    @property
    def connected(self) -> bool: ...

    async def ask_tails(self) -> None:
        """Raises BusError."""


class Probe:
    """Runs until closed. `elsewhere(url)`: connects to another server and asks it the same; raises if it does
    not answer."""

    def __init__(self, store: ProbedStore, elsewhere: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        self._store, self._elsewhere = store, elsewhere
        self._clock = asyncio.get_running_loop().time
        self._confirmed = self._clock()
        self._why = ""
        self._task = asyncio.create_task(self._run(), name="probe")

    @property
    def age(self) -> float:
        """Seconds since the log answered last."""
        return self._clock() - self._confirmed

    def problem(self) -> str:
        """Why the log cannot be relied on now, or ''."""
        if (age := self.age) <= GOOD_FOR:
            return ""
        if not self._store.connected:
            why = self._store.last_error or "the connection was lost"
            return f"NATS has been out of reach for {age:.0f} s: {why}"
        return f"the log has not answered for {age:.0f} s: {self._why}"

    async def close(self) -> None:
        await stop(self._task)

    async def _run(self) -> None:
        while True:
            started = self._clock()
            try:
                if self._store.connected:
                    await self._ask()
                    if self.age > GOOD_FOR and self._store.connected:
                        await self._go_elsewhere()
            except Exception as error:
                self._why = str(error) or type(error).__name__
                log.exception("the log could not be asked for its ends")
            await asyncio.sleep(max(0.0, started + EVERY - self._clock()))

    async def _ask(self) -> None:
        try:
            await self._store.ask_tails()
        except Unavailable as error:
            self._why = str(error)
        except BusError as error:  # a refusal is an answer
            self._why = str(error)
            self._confirmed = self._clock()
        else:
            self._confirmed = self._clock()

    async def _until_confirmed(self) -> None:
        while self.age > GOOD_FOR:
            await self._ask()
            await asyncio.sleep(LATER / 3)

    async def _go_elsewhere(self) -> None:
        here = asyncio.create_task(self._until_confirmed())
        asking = [asyncio.ensure_future(self._answers(url)) for url in self._store.wire.others()]
        try:
            for answered in asyncio.as_completed(asking):
                if place := await answered:
                    await asyncio.wait([here], timeout=LATER)
                    if self.age > GOOD_FOR:
                        log.warning("going to another NATS server", server=place, why=self._why)
                        metrics.MOVES.inc()
                        self._store.wire.move(place)
                    return
        finally:
            for task in (here, *asking):
                await stop(task)

    async def _answers(self, url: str) -> str:
        """HOST:PORT of the server if it answers; else ''."""
        try:
            async with asyncio.timeout(ELSEWHERE_WITHIN):
                await self._elsewhere(url)
        except Exception as error:  # noqa: BLE001  after any error that server is no better than ours
            log.info("another NATS server does not answer either", why=str(error) or type(error).__name__)
            return ""
        return url.rpartition("//")[2].rpartition("@")[2].strip("/")


async def ask_all(tails: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Run all concurrently and wait for all. Raises the first failure."""
    results = await asyncio.gather(*tails, return_exceptions=True)
    if failure := next((result for result in results if isinstance(result, BaseException)), None):
        raise failure
