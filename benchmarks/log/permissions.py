"""Permissions: what each role may do on a real server, and what they cost.

The matrix is that of the tests: every role tries every publish, subscription and request. The cost is
measured turn by turn on two servers that are alike but for accounts and permissions: publishing, reading a
table (as a leader, and as a reader, whose account imports the log), and a message's way to a reader.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from benchmarks import sample
from benchmarks.report import Report, times
from romana_bus.bus.api import Position
from romana_bus.bus.auth.permissions import READ, UP, WATCH, Identity
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.jetstream.pull import Pull
from romana_bus.bus.stream_config import Layout
from romana_bus.bus.writing.write import FencedWriter
from romana_bus.events import KUBE, ROLES
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.process import logs
from tests.bus.auth import matrix, site
from tests.servers import NatsServer

if TYPE_CHECKING:
    from romana_bus.bus.connect import Session

COUNT, SINGLE, ROUNDS, MOST = 20_000, 300, 5, 1.10


class Place:
    """A server, and how to open its log. `auth`: the authorization directory, or None."""

    def __init__(self, server: NatsServer, auth: Path | None) -> None:
        self.access, self.position = Access(servers=(server.url,), creds=auth), Position("", 0, "")

    async def opened(self, who: Identity) -> Session:
        return await open_store(self.access, Layout(site.CLUSTER), "benchmark", ROLES, who=who)

    async def publish(self) -> float:
        """Messages a second, in fenced batches."""
        async with await self.opened(WATCH) as store:
            tail = await store.tail(KUBE)
            newest = await store.get(KUBE, tail.last)
            writer = FencedWriter(
                store, KUBE, Position(tail.epoch, tail.last, newest.id if newest else ""), 1
            )
            messages = [
                outgoing(sample.pod(number, tail.last + number, number % 500), "", store.clock.now(), 1e6)
                for number in range(COUNT)
            ]
            began = time.perf_counter()
            await writer.put(messages)
            await writer.flush()
            took = time.perf_counter() - began
            await writer.close()
        return COUNT / took

    async def leaders_boot(self) -> float:
        return await self.boot(WATCH)

    async def readers_boot(self) -> float:
        return await self.boot(READ)

    async def boot(self, who: Identity) -> float:
        """Rows of the table that are read in a second."""
        async with await self.opened(who) as store:
            began, rows = time.perf_counter(), 0
            async for batch in store.table(KUBE):
                rows += len(batch)
            return rows / (time.perf_counter() - began)

    async def latency(self) -> float:
        """Seconds from a publish to its reader, median."""
        async with await self.opened(WATCH) as writer, await self.opened(READ) as reader:
            tail, wake, took = await writer.tail(KUBE), asyncio.Event(), []
            cursor = reader.follow(KUBE, ">", Position(tail.epoch, tail.last, ""), wake, "latency")
            assert isinstance(cursor, Pull)
            while not cursor.caught_up:
                await asyncio.sleep(0.01)
            for number in range(SINGLE):
                message = outgoing(sample.pod(number, number, 1), "", writer.clock.now(), 1e6)
                began = time.perf_counter()
                publishing = asyncio.ensure_future(writer.publish(KUBE, message))
                while not cursor.take():
                    wake.clear()
                    await wake.wait()
                took.append(time.perf_counter() - began)
                await publishing
            await cursor.close()
        return statistics.median(took)


async def cost(report: Report, plain: Place, guarded: Place) -> None:
    for place in (plain, guarded):
        async with await place.opened(UP):
            await place.publish()  # the first time
    for what, measure, unit in (
        ("publishing in fenced batches", Place.publish, "/s"),
        ("reading a table as a leader", Place.leaders_boot, "/s"),
        ("reading a table as a reader", Place.readers_boot, "/s"),
        ("a message's way to its reader, median", Place.latency, " s"),
    ):
        rounds = [(await measure(plain), await measure(guarded)) for _ in range(ROUNDS)]
        without, with_them = (statistics.median(values) for values in zip(*rounds, strict=True))
        ratio = without / with_them if unit == "/s" else with_them / without
        report.add(
            f"{what}, with permissions", _shown(with_them, unit), f"without: {_shown(without, unit)}",
            times(ratio), f"≤ {MOST:g}", ratio <= MOST,
        )  # fmt: skip


def _shown(value: float, unit: str) -> str:
    return f"{value:,.0f}/s" if unit == "/s" else f"{value * 1e3:.2f} ms"


async def tried(report: Report, url: str, auth: Path) -> None:
    results = await matrix.tried(url, auth)
    for role in site.WHO:
        own = [result for result in results if result.role == role]
        refused = sum(bool(result.refused) for result in own)
        right = sum(result.as_told for result in own)
        report.add(
            f"`{role}`: operations tried", f"{len(own) - refused} allowed, {refused} refused", "",
            f"{right} of {len(own)}", "as the table says", right == len(own),
        )  # fmt: skip


async def run(report: Report) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with NatsServer(folder / "plain", users="") as plain, site.authorized(folder) as guarded:
            await cost(report, Place(plain, None), Place(guarded, folder / "auth"))
            await tried(report, guarded.url, folder / "auth")


def main() -> None:
    logs.configure("error")
    report = Report("Permissions")
    uvloop.run(run(report))
    report.print()


if __name__ == "__main__":
    main()
