"""What the failover benchmark does as a client: writes pods, and follows what is decided of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from benchmarks import sample
from romana_bus.bus.api import Position, Unavailable
from romana_bus.bus.clock import wall
from romana_bus.events import IPAM, AddressAssigned, codec
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from romana_bus.bus.api import Tail
    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.bus.writing.write import FencedWriter
    from romana_bus.events import Event

NODES, RATE = 100, 25
#: Seconds in which all pods must have an address.
WITHIN = 90.0


class Watcher:
    """Writes pods, and follows what is decided of them."""

    def __init__(self, store: JetStream, writer: FencedWriter) -> None:
        self.store, self.writer = store, writer
        self.told: dict[str, float] = {}  # pod -> when it was handed to the writer
        self.stored: dict[str, float] = {}  # pod -> when its address was stored
        self.owners: dict[str, str] = {}  # address -> pod
        self.twice = 0  # addresses that two pods were given
        self.ids: dict[int, str] = {}  # what was decided, by its place on the log
        self._version = NODES

    async def tell(self, *events: Event) -> None:
        await self.writer.put([outgoing(event, "", wall(), self.store.history) for event in events])

    async def feed(self) -> None:
        """Until cancelled."""
        begun, first = time.monotonic(), self._version
        while True:
            self._version += 1
            pod = sample.pod(self._version, self._version, self._version % NODES)
            self.told[pod.name] = time.time()
            await self.tell(pod)
            await asyncio.sleep(max(0.0, begun + (self._version - first) / RATE - time.monotonic()))

    async def follow(self) -> None:
        """Until cancelled."""
        wake, tail = asyncio.Event(), await end_of(self.store)
        reading = self.store.follow(IPAM, ">", Position(tail.epoch, 0, ""), wake, "benchmark")
        try:
            while True:
                await wake.wait()
                wake.clear()
                for message in reading.take():
                    self.ids[message.seq] = message.id
                    event = codec.decode(message.body)
                    if isinstance(event, AddressAssigned):
                        self.stored.setdefault(event.name, message.stored / 1e6)
                        owner = self.owners.setdefault(event.addresses[0].address, event.name)
                        self.twice += owner != event.name
        finally:
            await reading.close()

    async def until_all_decided(self) -> None:
        async with asyncio.timeout(WITHIN):
            while self.told.keys() - self.stored.keys():
                await asyncio.sleep(0.05)

    def longest(self, since: float) -> float:
        """Seconds, of the pods told since then."""
        return max(self.stored[name] - told for name, told in self.told.items() if told >= since)


async def end_of(store: JetStream) -> Tail:
    """As soon as it can be asked: a server that has just come back may not know yet who leads."""
    async with asyncio.timeout(WITHIN):
        while True:
            with contextlib.suppress(Unavailable):
                return await store.tail(IPAM)
            await asyncio.sleep(0.1)
