"""Boot with the dead: 150,000 living pods, before and after 950,000 others have lived and died.

The lives of the dead are written as the watcher and IPAM would have written them, while the tables are
compacted as their leaders do it; the tombstones of the last hour are still there. Then IPAM boots again.
`--lives N` takes fewer.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import uvloop

from benchmarks import sample, stage
from benchmarks.log import boot
from benchmarks.report import Report, rate, times
from romana_bus.bus.clock import wall as now
from romana_bus.bus.jetstream import compaction
from romana_bus.consumers.ipam import decider
from romana_bus.events import IPAM, KUBE, AddressAssigned, AddressReleased, PodAddress, PodGone
from romana_bus.ipam import evolve, parts
from romana_bus.runtime.feed import outgoing
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.bus.api import Outgoing
    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.events import Event

LIVES, HOURS, ROUNDS = 950_000, 7 * 24, 3
#: Pods whose tombstones wait at the same time while the dead are written.
TOGETHER = 1_000
#: The numbers of dead pods are behind those of the living.
FIRST = 1_000_000


def _fresh(lives: int) -> int:
    """The dead of the last hour."""
    return lives // HOURS


async def _write(store: JetStream, role: str, lives: int) -> None:
    writer = await stage.leader(store, role)
    for message in _messages(store, role, lives):
        await writer.put([message])
    await writer.flush()
    await writer.close()


def _messages(store: JetStream, role: str, lives: int) -> Iterator[Outgoing]:
    for start in range(0, lives, TOGETHER):
        numbers = range(start, min(start + TOGETHER, lives))
        for number in numbers:
            yield outgoing(_born(role, number), "", now(), store.history)
        for number in numbers:
            message = outgoing(_died(role, number), "", now(), store.history)
            yield message if number >= lives - _fresh(lives) else message._replace(ttl=1)


def _born(role: str, number: int) -> Event:
    pod = sample.pod(FIRST + number, FIRST + number, number % boot.NODES)
    if role == KUBE:
        return pod
    address = PodAddress(address="10.255.0.1", network="default", block="10.255.0.0/28")
    return AddressAssigned(
        namespace=pod.namespace, name=pod.name, uid=pod.uid, node=pod.node, tenant=pod.namespace,
        addresses=(address,),
    )  # fmt: skip


def _died(role: str, number: int) -> Event:
    pod = sample.pod(FIRST + number, FIRST + number, number % boot.NODES)
    if role == KUBE:
        return PodGone(
            resource_version=str(FIRST + number), uid=pod.uid, namespace=pod.namespace, name=pod.name
        )
    return AddressReleased(namespace=pod.namespace, name=pod.name, uid=pod.uid, node=pod.node)


async def _rows(store: JetStream) -> int:
    """What both tables have."""
    return sum([(await boot._state(store, store.layout.table(role)))["messages"] for role in (KUBE, IPAM)])


async def living(url: str) -> int:
    """Fill the store with what lives; returns the rows."""
    async with stage.store(url) as store:
        facts = list(boot._first_facts())
        state = decider(boot.SETTINGS).initial()
        for seq, event in enumerate(facts, 1):
            evolve(state, event, seq)
        decided = [(decision.event, decision.cause) for part in parts(state) for decision in part]
        await boot._write(store, KUBE, [(event, "") for event in facts])
        await boot._write(store, IPAM, decided)
        await boot._until_mirrored(store)
        return await _rows(store)


async def bury(url: str, lives: int, rows: int) -> float:
    """Write the dead, and wait until the tables have `rows`; returns the seconds of both."""
    began = time.perf_counter()
    compaction.STAYS = 0.0  # nobody reads meanwhile
    async with stage.store(url) as store:
        compacting = [asyncio.create_task(store.compact(role)) for role in (KUBE, IPAM)]
        await asyncio.gather(*(_write(store, role, lives) for role in (KUBE, IPAM)))
        await boot._until_mirrored(store)
        while await _rows(store) > rows:
            await asyncio.sleep(1.0)
        for task in compacting:
            await stop(task)
    return time.perf_counter() - began


def boots(server: stage.Server) -> tuple[int, float]:
    """Rows, and the median of seconds."""
    runs = [boot.reader(server, "ours") for _ in range(ROUNDS)]
    return runs[0][0], statistics.median(took for _, took in runs)


def _resident(server: stage.Server) -> float:
    assert server.process is not None
    return stage.resident(server.process.pid)


def main() -> None:
    lives = int(sys.argv[sys.argv.index("--lives") + 1]) if "--lives" in sys.argv else LIVES
    report = Report(f"Boot with the dead: 150,000 pods live, {lives:,} have died within a week")
    with TemporaryDirectory() as scratch, stage.Server(Path(scratch), "10s") as server:
        rows = uvloop.run(living(server.url))
        fresh = 2 * _fresh(lives)
        _, without = boots(server)
        before = _resident(server)
        took = uvloop.run(bury(server.url, lives, rows + fresh))
        after = _resident(server)
        found, seconds = boots(server)
    report.add(
        "rows of both tables", f"{found:,}", f"living {rows:,}, dead of the last hour {fresh:,}",
        times(found / (rows + fresh)), "≤ 1.1×", found <= 1.1 * (rows + fresh),
    )  # fmt: skip
    report.add(
        "tables to a ready IPAM state", f"{seconds:.1f} s", f"with none dead {without:.1f} s",
        times(seconds / without), "≤ 1.2×", seconds <= 1.2 * without,
    )  # fmt: skip
    report.add("memory of nats-server", f"{after:.0f} MiB", f"with none dead {before:.0f} MiB")
    report.add("the dead written, and their rows deleted", rate(4 * lives, took))
    report.print()


if __name__ == "__main__":
    main()
