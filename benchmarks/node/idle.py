"""What an agent costs while nothing happens: memory and CPU, on a node with `--pods` pods of both families
in a cluster of `--blocks` blocks.

`romana-bus agent` as a process in the namespace of a node, with health and metrics served, started again when
all is there. The cluster's hosts are on its link, so the kernel has a route for each block. The peer, in the
same run: a Python process that has imported the same libraries, and holds an idle connection of nats-py.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import stage
from benchmarks.node.drift import PODS, attached
from benchmarks.node.routes_log import BLOCKS, HOSTS, block, host
from benchmarks.report import Report, times
from romana_bus.bus.auth.permissions import agent_of
from romana_bus.bus.clock import wall as now
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.events import IPAM
from romana_bus.runtime.feed import outgoing
from tests.cni.node import Node, Reachable
from tests.identities import login

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.bus.writing.write import FencedWriter
    from romana_bus.events import Event

#: Seconds: of idleness, with two looks of those of each minute; after the start; until all routes are there.
IDLE, SETTLE, WITHIN = 125.0, 15.0, 300.0
AT_ONCE = 1000
MEMORY, CPU = 75.0, 0.002
PEER = """
import asyncio, sys
import aiohttp.web, cyclopts, msgspec, nats, nkeys, prometheus_client, rich.console, structlog, uvloop

async def main():
    client = await nats.connect(sys.argv[1], nkeys_seed_str=sys.argv[2])
    print("connected", flush=True)
    await asyncio.Event().wait()

uvloop.run(main())
"""


async def _fill(node: Node, store: JetStream, writer: FencedWriter, count: int) -> None:
    """All hosts and so many blocks, until the kernel has the routes."""
    node.ip("address", "add", "10.99.0.1/16", "dev", "eth0")
    events: list[Event] = [host(f"node-{at}", f"10.99.{1 + at // 250}.{1 + at % 250}") for at in range(HOSTS)]
    events += [block(at, f"node-{at % HOSTS}") for at in range(count)]
    for at in range(0, len(events), AT_ONCE):
        some = events[at : at + AT_ONCE]
        await writer.put([outgoing(event, "", now(), store.history) for event in some])
        await writer.flush()
    until = time.monotonic() + WITHIN
    while (have := len(node.blocks())) < count:
        await asyncio.sleep(1)
        if time.monotonic() > until:
            raise SystemExit(f"{have} of {count} routes after {WITHIN:g} s")


@contextlib.contextmanager
def _peer(node: Node) -> Iterator[int]:
    """Its pid, from when it is connected."""
    url = f"nats://{node.log_address}:{node.nats.port}"
    seed = login(agent_of(node.name))["nkeys_seed_str"]
    command = ["ip", "netns", "exec", node.netns, sys.executable, "-c", PEER, url, seed]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"connected\n":
                raise SystemExit("the peer ended by itself")
            yield process.pid
        finally:
            process.kill()


def _cpu(pid: int) -> float:
    """Seconds of CPU of all its threads, as the scheduler counts them: ticks of 10 ms would be too few."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def _shared(pid: int) -> float:
    """MiB of its memory, where pages that several processes have count in parts (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


async def _in_cluster(report: Report, node: Node, blocks: int, seconds: float) -> None:
    """In this process leads who writes the blocks: its heartbeats are those of IPAM."""
    async with node.opened() as store:
        assert isinstance(store, JetStream)
        writer = await stage.leader(store, IPAM)
        await _fill(node, store, writer, blocks)
        await asyncio.to_thread(lambda: node.restart().until_synced())
        with _peer(node) as peer:
            await _measure(report, node.pid, peer, seconds)
        await writer.close()


async def _measure(report: Report, ours: int, peer: int, seconds: float) -> None:
    await asyncio.sleep(SETTLE)
    before = {pid: _cpu(pid) for pid in (ours, peer)}
    await asyncio.sleep(seconds)
    cpu, its_cpu = ((_cpu(pid) - used) / seconds for pid, used in before.items())
    memory, its_memory = stage.resident(ours), stage.resident(peer)
    report.add(
        "resident memory", f"{memory:.1f} MiB", f"the same libraries, and a connection: {its_memory:.1f} MiB",
        times(memory / its_memory), f"< {MEMORY:g} MiB", memory < MEMORY,
    )  # fmt: skip
    report.add("... shared pages counted in parts", f"{_shared(ours):.1f} MiB", f"{_shared(peer):.1f} MiB")
    report.add(
        f"CPU, over {seconds:g} s", f"{cpu:.2%} of a core", f"{its_cpu:.2%}", "", f"< {CPU:.1%}", cpu < CPU
    )


def main() -> None:
    if os.geteuid() != 0:
        raise SystemExit("benchmarks idle: run it as root: it makes network namespaces")
    parser = argparse.ArgumentParser()
    parser.add_argument("--pods", type=int, default=PODS)
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--idle", type=float, default=IDLE, help="seconds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = Report(
        f"An idle agent: {options.pods} pods on its node, {options.blocks:,} blocks in its cluster"
    )
    with (
        tempfile.TemporaryDirectory(prefix="romana-bench-") as scratch,
        Reachable(Path(scratch, "nats")) as nats,
        Node(Path(scratch, "node"), nats, "bench") as node,
    ):
        node.start().until_synced()
        attached(node, options.pods)
        asyncio.run(_in_cluster(report, node, options.blocks, options.idle))
    report.print()


if __name__ == "__main__":
    main()
