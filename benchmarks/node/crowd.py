"""Thousands of agents in one process, without kernels: each with its own connection, and the consumers that
every agent runs. For `agents.py`, which it tells, as JSON lines on stdout, what has arrived everywhere.

    python -m benchmarks.node.crowd URL FIRST COUNT live|consumers
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.jetstream.live import Live
from romana_bus.bus.stream_config import Layout
from romana_bus.consumers.pod_addresses import OwnAddresses, projection, report_wired
from romana_bus.errors import Failed
from romana_bus.events import IPAM, NODE, BlockAssigned, Event
from romana_bus.runtime.consumer import Reconciler
from romana_bus.runtime.feed import Read
from romana_bus.runtime.loop import run_projection
from romana_bus.runtime.process import logs
from romana_bus.runtime.reconcile import run_reconciler

if TYPE_CHECKING:
    from romana_bus.bus.api import Message
    from romana_bus.bus.connect import Session

#: How many of a process start at the same time. On nodes of their own all would; here they share a core, and
#: what waits for it longer than a request may take would be taken for a server that does not answer.
TOGETHER = 100
#: Subject of bare messages, behind the cluster's prefix.
BARE = "alive.bare"


class Everywhere:
    """Counts arrivals; says when something has arrived at all agents."""

    def __init__(self, agents: int) -> None:
        self._agents = agents
        self._counts: dict[tuple[str, int], int] = {}

    def arrived(self, what: str, number: int) -> None:
        key = what, number
        self._counts[key] = count = self._counts.get(key, 0) + 1
        if count == self._agents:
            say(what=what, number=number, at=time.monotonic())


def say(**what: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


class Agent:
    def __init__(self, number: int, everywhere: Everywhere) -> None:
        self.name, self.everywhere = f"n{number}", everywhere

    async def run(self, url: str, live: bool, starting: asyncio.Semaphore) -> None:
        await starting.acquire()
        async with await self.opened(url, live) as store:
            everywhere, addresses = self.everywhere, OwnAddresses()
            await store.hear(BARE, lambda _, body: everywhere.arrived("bare", int(body)))
            async with asyncio.TaskGroup() as group:
                group.create_task(run_reconciler(store, self.reconciler()))
                group.create_task(run_projection(store, projection(self.name, addresses)))
                group.create_task(report_wired(store, self.name, addresses, asyncio.Event(), self.wired))
                await addresses.read.wait()
                starting.release()
                everywhere.arrived("addresses read", 0)

    async def opened(self, url: str, live: bool) -> Session:
        """Tries until it succeeds, as an agent does."""
        access, name = Access(servers=(url,)), f"agent {self.name}"
        while True:
            try:
                return await open_store(access, Layout(), name, (IPAM, NODE), creates=False, live=live)
            except Failed:
                await asyncio.sleep(1.0)

    async def wired(self) -> dict[str, str]:
        return {}

    def reconciler(self) -> Reconciler[list[int]]:
        first = True

        def evolve(_: list[int], event: Event, seq: int) -> None:
            if not first and isinstance(event, BlockAssigned):
                self.everywhere.arrived("folded", seq)

        async def observe(_: list[int], full: bool) -> None:
            nonlocal first
            if first and full:
                first = False
                self.everywhere.arrived("map read", 0)

        async def apply(_: Any) -> int:
            return 0

        return Reconciler(
            name="routes", node=self.name, reads=(Read(IPAM, "ipam.map.>"),), initial=list, evolve=evolve,
            observe=observe, plan=lambda *_: None, apply=apply,
        )  # fmt: skip


def note_arrivals(everywhere: Everywhere) -> None:
    """Also when a message is there, before its consumer wakes up."""
    plain = Live._append

    def append(self: Live, message: Message) -> None:
        if message.subject.startswith("ipam.map."):
            everywhere.arrived("here", message.seq)
        plain(self, message)

    Live._append = append  # type: ignore[method-assign]


async def crowd(url: str, first: int, count: int, live: bool) -> None:
    everywhere = Everywhere(count)
    note_arrivals(everywhere)
    starting = asyncio.Semaphore(TOGETHER)
    async with asyncio.TaskGroup() as group:
        for number in range(first, first + count):
            group.create_task(Agent(number, everywhere).run(url, live, starting))


if __name__ == "__main__":
    logs.configure("error", False)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(crowd(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "live"))
