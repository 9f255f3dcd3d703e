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
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import uvloop

from benchmarks import sample, stage
from benchmarks.report import Report
from romana_bus.bus.api import Position, Unavailable
from romana_bus.bus.clock import wall
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.streams import Layout
from romana_bus.events import IPAM, KUBE, ROLES, AddressAssigned, LeaderElected, ResourceSynced, codec
from romana_bus.runtime.feed import outgoing
from tests.netns import why_not
from tests.servers import NatsServer, SeparateCluster, separate_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from romana_bus.bus.api import Tail
    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.bus.write import FencedWriter
    from romana_bus.events import Event

NODES, RATE, RUNS = 100, 25, 5
#: Seconds that pods come before a fault and behind it, and in which all must have an address.
BEFORE, BEHIND, WITHIN = 2.0, 12.0, 90.0
#: MiB of the disks that can be filled.
DISK = 128


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


# --- what fails ---------------------------------------------------------------------------------------------


class Struck(NamedTuple):
    cluster: SeparateCluster
    store: JetStream


async def stream_leader(struck: Struck) -> NatsServer:
    info = await struck.store.api(f"STREAM.INFO.{struck.store.layout.stream(IPAM)}")
    return struck.cluster.named(info["cluster"]["leader"])


async def leaders_server(struck: Struck) -> NatsServer:
    """The one that the client of the process that leads is connected to."""
    newest = await struck.store.newest(IPAM, "ipam.leader")
    elected = codec.decode(newest.body) if newest else None
    assert isinstance(elected, LeaderElected)
    pid = elected.holder.rpartition("/")[2].partition("-")[0]
    for line in struck.cluster.clients.run("ss", "-Htnp", "state", "established").splitlines():
        if f"pid={pid}," in line and (found := re.search(r"10\.77\.0\.[123]:\d+", line)):
            return struck.cluster.at(found[0])
    raise SystemExit(f"process {pid}, which leads, has no connection to NATS")


async def kill(struck: Struck) -> Callable[[], object]:
    server = await stream_leader(struck)
    server.kill()
    return server.start


async def freeze(struck: Struck) -> Callable[[], object]:
    server = await stream_leader(struck)
    server.freeze()
    return server.thaw


async def cut_off(struck: Struck) -> Callable[[], object]:
    server = await leaders_server(struck)
    struck.cluster.cut_off(server)
    return lambda: struck.cluster.join(server)


async def cut_off_leader(struck: Struck) -> Callable[[], object]:
    """It goes on answering as if it led."""
    server = await stream_leader(struck)
    struck.cluster.cut_off(server)
    return lambda: struck.cluster.join(server)


async def fill(struck: Struck) -> Callable[[], object]:
    server = await stream_leader(struck)
    ballast = server.directory / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # until there is no room
        while True:
            file.write(bytes(1 << 16))

    def make_room() -> None:
        server.stop()
        ballast.unlink()
        server.start()

    return make_room


async def roll(struck: Struck) -> Callable[[], object]:
    """Each is stopped and started when the one before it is well, as a StatefulSet is."""
    for server in struck.cluster.servers:
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await until_well(struck.cluster)
    return lambda: None


FAULTS: dict[str, tuple[str, Callable[[Struck], Awaitable[Callable[[], object]]]]] = {
    "kill": ("the stream's leader is killed", kill),
    "freeze": ("the stream's leader stands still", freeze),
    "cut": ("the deciding client's server is cut off from its peers", cut_off),
    "cut-leader": ("the stream's leader is cut off from its peers", cut_off_leader),
    "disk": ("the disk of the stream's leader is full", fill),
    "roll": ("all three are restarted, one after the other", roll),
}


# --- where it fails -----------------------------------------------------------------------------------------


async def until_well(cluster: SeparateCluster) -> None:
    """Until every server says that all its copies of streams are up to date."""
    async with asyncio.timeout(WITHIN):
        for server in cluster.servers:
            while not await asyncio.to_thread(_is_well, server):
                await asyncio.sleep(0.1)


def _is_well(server: NatsServer) -> bool:
    try:
        with urllib.request.urlopen(f"http://{server.host}:8222/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def servers(disks: bool) -> Iterator[SeparateCluster]:
    """Three, and this thread where their clients are. `disks`: each on a small one of its own, in memory."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="romana-bench-")))
        cluster = stack.enter_context(separate_cluster(scratch))
        for server in cluster.servers:
            server.extra += f'\nhttp: "{server.host}:8222"'
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
    async with await open_store(access, Layout(replicas=3), "benchmark", ROLES) as store:
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
    async with await open_store(
        Access(servers=tuple(cluster.urls)), Layout(replicas=3), "benchmark", ROLES
    ) as store:
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
            stack.enter_context(stage.process("run", "ipam", *named, "--replicas", "3"))
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
