"""Agents by the thousand on one server that syncs every write: boot, memory, CPU, what they store, and how
soon a block event is at all of them.

5,000 agents in two processes (`crowd.py`), each with its own connection. The peer of a block event, in the
same run, turn by turn: a bare publish on core NATS to the same connections. The peers of the server's cost:
as many connections with two subscriptions each, of which nothing more is wanted; and 1,000 of the same agents
with consumers, beside 1,000 without (with 5,000 of them, the two cores that all share are not enough). "Here"
is when the message is at an agent's connection, as the bare one is; until it is folded, each has decoded it.

    python -m benchmarks.node.agents [--agents 5000]
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import uvloop

from benchmarks import stage
from benchmarks.node.crowd import BARE
from benchmarks.report import Report, times
from romana_bus.bus.clock import wall
from romana_bus.events import IPAM, NODE, BlockAssigned, HostPlaced
from romana_bus.runtime import alive
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.bus.writing.write import FencedWriter

#: Agents beside consumers; processes of agents. Events for which the CPU is measured, sent together, and
#: those that are sent one by one; seconds of idleness.
PEERS, PROCESSES = 1000, 2
AGENTS, HOSTS, EVENTS, MEASURED, IDLE = 5000, 100, 100, 20, 30.0
LIMITS = "sync_interval: always, limits: { default_max_consumers: 50000 }"


class Measured(NamedTuple):
    """Seconds and MiB. `server_cpu`: for EVENTS events at once, without what it uses while idle; `received`:
    the messages that it got meanwhile. `idle_cpu`: a second, of the server. `here`, `folded`, `bare`: for
    each single event, until it was everywhere."""

    boot: float
    memory: float
    idle_stored: float
    idle_cpu: float
    server_cpu: float
    received: int
    here: list[float]
    folded: list[float]
    bare: list[float]
    answers: int
    asked: float


class Told:
    """What a process of the crowd says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        self._process, self._reader = process, process.stdout
        self._at: dict[tuple[str, int], float] = {}

    async def until(self, what: str, number: int = 0) -> float:
        """When it had arrived at all agents of the process, by the clock that all processes share."""
        while (what, number) not in self._at:
            line = await self._reader.readline()
            if not line:
                raise SystemExit("the crowd has ended")
            said = msgspec.json.decode(line)
            self._at[said["what"], said["number"]] = said["at"]
        return self._at.pop((what, number))

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Crowd:
    """All agents, in several processes."""

    def __init__(self, parts: list[Told]) -> None:
        self._parts = parts

    async def until(self, what: str, number: int = 0) -> float:
        """When it had arrived everywhere."""
        return max([await part.until(what, number) for part in self._parts])


@contextlib.asynccontextmanager
async def crowd(url: str, agents: int, way: str) -> AsyncIterator[Crowd]:
    async with contextlib.AsyncExitStack() as running:
        parts = []
        for part in range(PROCESSES):
            first, end = (agents * each // PROCESSES for each in (part, part + 1))
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.node.crowd", url, str(first), str(end - first), way,
                stdout=subprocess.PIPE,
            )  # fmt: skip
            parts.append(Told(child))
            running.push_async_callback(parts[-1].stop)
        yield Crowd(parts)


def tell(way: str, what: str) -> None:
    """On stderr, since this takes minutes."""
    print(f"  {way}: {what}", file=sys.stderr, flush=True)


def block(number: int) -> BlockAssigned:
    prefix = f"10.{number >> 12 & 255}.{number >> 4 & 255}.{(number & 15) * 16}/28"
    return BlockAssigned(network="default", block=prefix, node=f"h{number % HOSTS}", since=wall())


async def measure(agents: int, way: str, events: int) -> Measured:
    with tempfile.TemporaryDirectory(prefix="romana-bench-") as scratch:
        server = stage.Server(Path(scratch))
        server.jetstream = LIMITS
        with server:
            async with stage.store(server.url) as store:
                writer = await stage.leader(store, IPAM)
                beating = asyncio.create_task(beat(store, writer))
                await fill(store, writer)
                try:
                    return await with_crowd(server, store, writer, agents, way, events)
                finally:
                    beating.cancel()
                    await writer.close()


async def fill(store: JetStream, writer: FencedWriter) -> None:
    hosts = [HostPlaced(node=f"h{n}", uid=f"u{n}", addresses=(f"10.200.0.{n}",)) for n in range(HOSTS)]
    blocks = [block(number) for number in range(2 * HOSTS)]
    await writer.put([outgoing(event, "", wall(), store.history) for event in (*hosts, *blocks)])
    await writer.flush()


async def beat(store: JetStream, writer: FencedWriter) -> None:
    while True:
        writer.beat(store.clock.now())
        await asyncio.sleep(1.0)


async def with_crowd(
    server: stage.Server, store: JetStream, writer: FencedWriter, agents: int, way: str, events: int
) -> Measured:
    pid = server.process.pid if server.process else 0
    began = time.monotonic()
    async with crowd(server.url, agents, way) as told:
        boot = max(await told.until("map read"), await told.until("addresses read")) - began
        tell(way, f"{agents:,} agents have read their tables after {boot:.0f} s")
        await until_quiet(store)
        before, cpu, began = (await store.tail(NODE)).last, cpu_of(pid), time.monotonic()
        await asyncio.sleep(IDLE)
        idle = time.monotonic() - began
        idle_stored = ((await store.tail(NODE)).last - before) / idle
        idle_cpu = (cpu_of(pid) - cpu) / idle
        tell(way, f"idle for {idle:.0f} s: {idle_stored:.2f} stored a second")
        here, folded, bare = [], [], []
        for number in range(events):
            began = time.monotonic()
            await writer.put([outgoing(block(1000 + number), "", wall(), store.history)])
            seq = await writer.flush()
            if way == "live":
                here.append(await told.until("here", seq) - began)
            folded.append(await told.until("folded", seq) - began)
            if way == "live":
                began = time.monotonic()
                store.say(BARE, b"%d" % number)
                bare.append(await told.until("bare", number) - began)
            tell(way, f"event {number + 1} of {events} folded by all after {folded[-1]:.1f} s")
        cpu, began, got = cpu_of(pid), time.monotonic(), received(server)
        await writer.put([outgoing(block(2000 + each), "", wall(), store.history) for each in range(EVENTS)])
        await told.until("folded", await writer.flush())
        spent = cpu_of(pid) - cpu - idle_cpu * (time.monotonic() - began)
        memory, got = stage.resident(pid), received(server) - got
        tell(way, f"the server has {memory:.0f} MiB; {spent:.1f} s of its CPU for {EVENTS} events")
        began = time.monotonic()
        expected = [f"node.n{n}.{name}" for n in range(agents) for name in ("routes", "cni")]
        answers = await alive.ask(store, expected, within=20.0)
        asked = time.monotonic() - began
        return Measured(
            boot, memory, idle_stored, idle_cpu, spent, got, here, folded, bare, len(answers), asked
        )  # fmt: skip


async def bare_connections(count: int) -> float:
    """MiB of a server with so many connections, which have got as many messages as the agents."""
    with (
        tempfile.TemporaryDirectory(prefix="romana-bench-") as scratch,
        stage.Server(Path(scratch)) as server,
    ):
        streams = []
        for number in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await reader.readline()
            subscriptions = b"SUB all 1\r\nSUB one.%d 2\r\n" % number
            writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n' + subscriptions + b"PING\r\n")
            await reader.readline()
            streams.append((reader, writer))
        tell("connections", f"{count:,} are open")
        for _ in range(EVENTS):
            streams[0][1].write(b"PUB all 400\r\n" + b"x" * 400 + b"\r\nPING\r\n")
            for reader, _ in streams:
                await reader.readuntil(b"x\r\n")
        return stage.resident(server.process.pid if server.process else 0)


async def until_quiet(store: JetStream) -> None:
    """Until the first reports of all agents are stored."""
    before = -1
    while (last := (await store.tail(NODE)).last) != before:
        before = last
        await asyncio.sleep(2.0)


def received(server: stage.Server) -> int:
    """How many messages the server got from all clients."""
    with urllib.request.urlopen(f"http://{server.monitor}/varz") as answer:
        count: int = msgspec.json.decode(answer.read())["in_msgs"]
    return count


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def middle(values: list[float]) -> float:
    return statistics.median(values) if values else 0.0


def main() -> None:
    agents = int(sys.argv[sys.argv.index("--agents") + 1]) if "--agents" in sys.argv else AGENTS
    report = Report(f"{agents:,} agents on one server, a map of {HOSTS} hosts and {2 * HOSTS} blocks")
    few = min(PEERS, agents)
    live: Measured = uvloop.run(measure(agents, "live", MEASURED))
    bare: float = uvloop.run(bare_connections(agents))
    small: Measured = live if few == agents else uvloop.run(measure(few, "live", MEASURED))
    peer: Measured = uvloop.run(measure(few, "consumers", MEASURED // 4))
    report.add(
        "the server's memory, at the end", f"{live.memory:.0f} MiB", f"connections alone: {bare:.0f} MiB",
        times(live.memory / bare), "< 150 MB", live.memory < 143,
    )  # fmt: skip
    report.add(
        f"... with {few:,} agents", f"{small.memory:.0f} MiB", f"consumers: {peer.memory:.0f} MiB",
        times(small.memory / peer.memory),
    )  # fmt: skip
    report.add(
        f"the server's CPU for {EVENTS} block events at once", f"{live.server_cpu:.2f} s",
        f"messages that it got meanwhile: {live.received:,}",
    )  # fmt: skip
    report.add(
        f"... with {few:,} agents", f"{small.server_cpu:.2f} s", f"consumers: {peer.server_cpu:.2f} s",
        times(small.server_cpu / peer.server_cpu),
    )  # fmt: skip
    ratio = middle(live.here) / middle(live.bare)
    report.add(
        "a block event at all agents", f"{middle(live.here) * 1e3:.0f} ms",
        f"a bare publish: {middle(live.bare) * 1e3:.0f} ms", times(ratio), "≤ 1.5×", ratio <= 1.5,
    )  # fmt: skip
    report.add(
        f"... at {few:,}", f"{middle(small.here) * 1e3:.0f} ms",
        f"a bare publish: {middle(small.bare) * 1e3:.0f} ms", times(middle(small.here) / middle(small.bare)),
    )  # fmt: skip
    report.add("... and folded by all", f"{middle(live.folded) * 1e3:.0f} ms")
    report.add(
        f"... by {few:,}", f"{middle(small.folded) * 1e3:.0f} ms",
        f"consumers: {middle(peer.folded) * 1e3:.0f} ms", times(middle(small.folded) / middle(peer.folded)),
    )  # fmt: skip
    report.add("boot, all at once", f"{live.boot:.0f} s")
    report.add(f"... of {few:,}", f"{small.boot:.1f} s", f"consumers: {peer.boot:.1f} s")
    report.add("stored by idle agents", f"{live.idle_stored:.2f}/s", "", "", "< 5/s", live.idle_stored < 5)
    report.add(
        "the server's CPU while all are idle", f"{live.idle_cpu * 100:.0f} % of a core",
        f"consumers, {few:,} agents: {peer.idle_cpu * 100:.0f} %",
    )  # fmt: skip
    report.add(
        "answers to `status`", f"{live.answers:,} in {live.asked:.1f} s", "", "",
        f"{2 * agents:,}", live.answers == 2 * agents,
    )  # fmt: skip
    report.print()


if __name__ == "__main__":
    main()
