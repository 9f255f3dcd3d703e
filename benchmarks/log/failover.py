"""Failover: seconds without a decision while one of three NATS servers fails, and what is lost of decisions.

Each server has a network namespace of its own and syncs every write; each stream has three copies. Two
`romana-bus run ipam` decide. This process writes 25 pods a second, as a watcher does, and follows what is
decided. Of each pod: from when it was handed to the writer until its address was stored, by the server's
clock, which is this machine's; the longest of a run counts. Lost are decisions that a follower was given and
that the log does not have afterwards, pods that never get an address, and addresses that two have.

`python -m benchmarks.log.failover [--runs N] [--fault NAME ...]`. Needs root.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import uvloop

from benchmarks import sample, stage
from benchmarks.log.faults import FAULTS, Struck, until_well
from benchmarks.log.watcher import NODES, Watcher, end_of
from benchmarks.report import Report
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.store_size import parse_size
from romana_bus.bus.stream_config import Layout
from romana_bus.events import KUBE, ROLES, ResourceSynced
from tests.netns import why_not
from tests.servers import SeparateCluster, separate_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


RUNS = 5
#: Seconds that pods come before a fault, and behind it.
BEFORE, BEHIND = 2.0, 12.0
#: MiB of the disks that can be filled, and what the store may take of one.
DISK, STORE = 1024, "512MB"
LAYOUT = Layout(replicas=3, size=parse_size(STORE))


@contextlib.contextmanager
def servers(disks: bool) -> Iterator[SeparateCluster]:
    """Three, and this thread where their clients are. `disks`: each on a small one of its own, in memory."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="romana-bench-")))
        cluster = stack.enter_context(separate_cluster(scratch))
        for server in cluster.servers:
            server.extra += f'\nhttp: "{server.host}:8222"'
            server.users = ""
            if disks:
                server.directory.mkdir()
                mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(server.directory)]
                subprocess.run(mount, check=True)
                stack.callback(subprocess.run, ["umount", str(server.directory)], check=False)
        stack.enter_context(cluster.clients.entered())
        yield stack.enter_context(cluster)


@contextlib.asynccontextmanager
async def watching(cluster: SeparateCluster) -> AsyncIterator[tuple[Watcher, asyncio.Task[None]]]:
    """The nodes are listed, and pods get addresses."""
    access = Access(servers=tuple(cluster.urls))
    async with await open_store(access, LAYOUT, "benchmark", ROLES) as store:
        watcher = Watcher(store, await stage.leader(store, KUBE))
        following = asyncio.create_task(watcher.follow())
        nodes = [sample.node(number, 1 + number) for number in range(NODES)]
        synced = [
            ResourceSynced(resource=kind, resource_version=str(NODES), count=count)
            for kind, count in (("nodes", NODES), ("pods", 0))
        ]
        await watcher.tell(*nodes, *synced)
        try:
            yield watcher, following
        finally:
            following.cancel()
            await asyncio.wait([following])
            await watcher.writer.close()


class Run(NamedTuple):
    seconds: float
    decided: int
    lost: int


async def measured(cluster: SeparateCluster, fault: str, runs: int) -> list[Run]:
    found: list[Run] = []
    await until_well(cluster)
    async with watching(cluster) as (watcher, following):
        for number in range(runs):
            before = len(watcher.ids)
            seconds = await _run(cluster, fault, watcher)
            if following.done():
                following.result()
            lost = await _lost(cluster, watcher)
            found.append(Run(seconds, len(watcher.ids) - before, lost))
            print(f"{fault} {number + 1}: {seconds:.1f} s, lost {lost}", file=sys.stderr, flush=True)
    return found


async def _run(cluster: SeparateCluster, fault: str, watcher: Watcher) -> float:
    feeding = asyncio.create_task(watcher.feed())
    try:
        await asyncio.sleep(1.0)
        await watcher.until_all_decided()
        begun = time.time()
        await asyncio.sleep(BEFORE)
        mend = await FAULTS[fault][1](Struck(cluster, watcher.store))
        await asyncio.sleep(BEHIND)
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])
    await watcher.until_all_decided()
    await asyncio.to_thread(mend)
    await until_well(cluster)
    return watcher.longest(begun)


async def _lost(cluster: SeparateCluster, watcher: Watcher) -> int:
    """Read by somebody who comes now."""
    access = Access(servers=tuple(cluster.urls))
    async with await open_store(access, LAYOUT, "benchmark", ROLES) as store:
        again = Watcher(store, watcher.writer)
        following = asyncio.create_task(again.follow())
        last = (await end_of(store)).last
        while not following.done() and max(again.ids, default=0) < last:
            await asyncio.sleep(0.05)
        following.cancel()
        await asyncio.wait([following])
    missing = sum(again.ids.get(seq) != id for seq, id in watcher.ids.items())
    return missing + len(watcher.told.keys() - again.stored.keys()) + again.twice


def once(fault: str, runs: int) -> list[Run]:
    with servers(disks=fault == "disk") as cluster, contextlib.ExitStack() as stack:
        named = [argument for url in cluster.urls for argument in ("--nats", url)]
        for _ in range(2):
            stack.enter_context(
                stage.process("run", "ipam", *named, "--replicas", "3", "--store-size", STORE)
            )
        return uvloop.run(measured(cluster, fault, runs))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.log.failover")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--fault", choices=FAULTS, action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if reason := why_not():
        raise SystemExit(reason)
    report = Report(f"Without a decision while one of three NATS servers fails, median of {options.runs}")
    for fault in options.fault or FAULTS:
        runs = once(fault, options.runs)
        seconds, lost = [run.seconds for run in runs], sum(run.lost for run in runs)
        median = statistics.median(seconds)
        report.add(
            FAULTS[fault][0],
            f"{median:.1f} s ({min(seconds):.1f} to {max(seconds):.1f}), "
            f"lost {lost} of {sum(run.decided for run in runs):,}",
            target="≤ 10 s, lost 0",
            met=median <= 10 and not lost,
        )
    report.print()


if __name__ == "__main__":
    main()
