"""Reports of what is wired: when it has changed, and to who asks."""

from __future__ import annotations

import asyncio

from romana_bus.bus.memory import MemoryStore
from romana_bus.consumers.pod_addresses import Known, OwnAddresses, report_wired
from romana_bus.events import IPAM, NODE, Wired, codec
from romana_bus.runtime import alive
from romana_bus.tasks import stop


class Node:
    """One that reports what `wired` is."""

    def __init__(self, stale: float) -> None:
        self.store, self.addresses, self.changed = MemoryStore(), OwnAddresses(), asyncio.Event()
        self.wired: dict[str, str] = {}
        self.looks = 0
        self.stale = stale

    async def look(self) -> dict[str, str]:
        self.looks += 1
        return dict(self.wired)

    async def __aenter__(self) -> Node:
        await self.store.prepare([NODE])
        await self.addresses.show(Known(seq=7))
        reporting = report_wired(self.store, "n1", self.addresses, self.changed, self.look, self.stale)
        self._task = asyncio.create_task(reporting)
        await self.said(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._task)

    async def said(self, count: int) -> Wired:
        """The report of that number."""
        while (await self.store.tail(NODE)).last < count:
            await asyncio.sleep(0.01)
        newest = await self.store.newest(NODE, "node.n1.cni")
        assert newest is not None
        assert newest.seq == count
        report = codec.decode(newest.body)
        assert isinstance(report, Wired)
        return report


async def test_report_follows_changes_of_attached_addresses() -> None:
    async with Node(stale=3600.0) as node:
        node.wired = {"10.0.0.1": "ns/web"}
        node.changed.set()
        report = await node.said(2)
        assert (report.addresses, report.covers) == (node.wired, {IPAM: 7})
        node.changed.set()  # and nothing has
        while node.looks < 3:
            await asyncio.sleep(0.01)
        assert (await node.store.tail(NODE)).last == 2


async def test_answer_covers_what_was_read_and_nothing_is_stored() -> None:
    """An audit believes it no further than that."""
    async with Node(stale=0.01) as node:
        await node.addresses.show(Known(seq=9))
        while (await alive.ask(node.store, ["node.n1.cni"]))["node.n1.cni"].covers != {IPAM: 9}:
            await asyncio.sleep(0.001)
        assert (await node.store.tail(NODE)).last == 1
