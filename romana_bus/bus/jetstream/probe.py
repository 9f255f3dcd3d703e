"""Whether the log answers through the connection that we have, and a better server where it does not.

A connection that is open says nothing: a server that is cut off from its peers answers pings, and stores and
tells nothing. So the log itself is asked every second where its streams end. When it has not answered for
GOOD_FOR seconds, the other servers of the cluster are asked the same, each over a connection of its own, and
ours once more. The client goes to the first that has an answer, and stays where nobody has one, or ours has
one too: then the log had no leader, wherever one asks.

Reads: the streams' INFO, which their leaders answer. Owns: which server the connection leads to.
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

#: Seconds between two questions; for which an answer counts; in which another server has to answer; and by
#: which ours may be later.
EVERY, GOOD_FOR, ELSEWHERE_WITHIN, LATER = 1.0, 3.0, 2.5, 0.75


class Asked(Protocol):
    """A store, as it is looked at here."""

    wire: Wire
    last_error: str

    @property
    def connected(self) -> bool: ...

    async def ask_tails(self) -> None:
        """Raises BusError."""


class Probe:
    """`elsewhere`: connects to the server of a URL and asks it the same; raises where it has no answer."""

    def __init__(self, store: Asked, elsewhere: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        self._store, self._elsewhere = store, elsewhere
        self._clock = asyncio.get_running_loop().time
        self._confirmed = self._clock()
        self._why = ""
        self._task = asyncio.create_task(self._run(), name="probe")

    @property
    def age(self) -> float:
        """Seconds since the log has last answered."""
        return self._clock() - self._confirmed

    def problem(self) -> str:
        """Why the log is not to be relied on, or ''."""
        if (age := self.age) <= GOOD_FOR:
            return ""
        if not self._store.connected:
            why = self._store.last_error or "the connection was lost"
            return f"NATS is out of reach for {age:.0f} s: {why}"
        return f"the log has not answered for {age:.0f} s: {self._why}"

    async def close(self) -> None:
        await stop(self._task)

    async def _run(self) -> None:
        while True:
            begun = self._clock()
            try:
                if self._store.connected:
                    await self._ask()
                    if self.age > GOOD_FOR and self._store.connected:
                        await self._go_elsewhere()
            except Exception as error:
                self._why = str(error) or type(error).__name__
                log.exception("the log could not be asked for its ends")
            await asyncio.sleep(max(0.0, begun + EVERY - self._clock()))

    async def _ask(self) -> None:
        try:
            await self._store.ask_tails()
        except Unavailable as error:
            self._why = str(error)
        except BusError as error:  # it says no, but it is there
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
            for one in (here, *asking):
                await stop(one)

    async def _answers(self, url: str) -> str:
        """HOST:PORT of the server, where it has an answer; else ''."""
        try:
            async with asyncio.timeout(ELSEWHERE_WITHIN):
                await self._elsewhere(url)
        except Exception as error:  # noqa: BLE001  whatever it is: no better than what we have
            log.info("another NATS server is no better", why=str(error) or type(error).__name__)
            return ""
        return url.rpartition("//")[2].rpartition("@")[2].strip("/")


async def ask_all(tails: Sequence[Coroutine[Any, Any, object]]) -> None:
    """All at once. Raises what the first of them raised that failed."""
    found = await asyncio.gather(*tails, return_exceptions=True)
    if failure := next((one for one in found if isinstance(one, BaseException)), None):
        raise failure
