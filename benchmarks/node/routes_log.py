"""From the log to a node's kernel: the agent's routes in a process of its own, on a NATS server that syncs
every write, with its kernel in a namespace. A part of `routes.py`.

A block is put on the log, and the clock stops when the kernel tells of the route (to somebody who listens
in that namespace). The peer, turn by turn: the same bytes published by plain nats-py, until they arrive at
a plain consumer of the stream. Then everything is made large, and memory is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

import nats
import uvloop

from benchmarks import stage
from benchmarks.report import times
from romana_bus.bus.clock import wall as now
from romana_bus.events import (
    IPAM,
    NODE,
    AddressAssigned,
    Applied,
    BlockAssigned,
    HostPlaced,
    PodAddress,
    codec,
)
from romana_bus.inet import format_address
from romana_bus.lab.cluster import relay
from romana_bus.netlink.messages import messages
from romana_bus.netlink.socket import Socket
from romana_bus.runtime.feed import outgoing
from tests.netns import Namespace, namespace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.report import Report
    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.bus.writing.write import FencedWriter
    from romana_bus.events import Event

SINGLE, HOSTS, BLOCKS, PODS = 500, 5_000, 20_000, 20_000
#: Hosts that single blocks go to, turn by turn.
NEAR = 50
CONSUMER = "routes"
#: A node beside the one that the routes were measured on, so that its report is its own.
AGENT, NATS_PORT = "agent", 4222


class Kernel:
    """Hears of every route of the namespace."""

    def __init__(self, here: Namespace) -> None:
        self._socket = here.inside(lambda: Socket(buffer=1 << 26, within=0))
        self._socket.join(7)
        self.count, self.last, self._news = 0, 0.0, asyncio.Event()
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._heard)

    def _heard(self) -> None:
        self.last = time.perf_counter()
        with contextlib.suppress(BlockingIOError):
            while True:
                self.count += sum(kind == 24 for kind, *_ in messages(self._socket._socket.recv(1 << 16)))
        self._news.set()

    async def until(self, count: int) -> float:
        """When it heard of so many."""
        while self.count < count:
            self._news.clear()
            await self._news.wait()
        return self.last

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()


def measure(report: Report) -> None:
    with namespace("bench") as here, stage.nats() as server:
        here.link("eth0", "10.99.0.1/16")
        uvloop.run(_measure(report, here, server))


async def _measure(report: Report, here: Namespace, server: stage.Server) -> None:
    async with stage.store(server.url, server.verified) as store:
        await store.prepare((IPAM, NODE))
        writer = await stage.leader(store, IPAM)
        await _put(store, writer, [host(f"you-{at}", f"10.99.0.{2 + at}") for at in range(NEAR)])
        kernel = Kernel(here)
        arguments = (here.name, server.url, store.cluster, "me")
        with stage.process(*arguments, module="tests.consumers.agent"):
            ours, bare = await _latency(store, writer, server.url, kernel)
            ratio = statistics.median(ours) / statistics.median(bare)
            report.add(
                "a block on the log to its route in another node's kernel", _spread(ours),
                f"bare publish to receive {_spread(bare)}", times(ratio), "median ≤ 3×", ratio <= 3,
            )  # fmt: skip
            received = await _pods_elsewhere(store, writer, kernel)
            report.add(
                f"messages received of {PODS:,} pods elsewhere", f"{received}",
                target="0", met=received == 0,
            )  # fmt: skip
            await _grow(store, writer, kernel)
        kernel.close()
        await _put(store, writer, [host(AGENT, "10.99.0.1")])
        resident, peak = await _agent(store, server)
        report.add(
            f"memory of `romana-bus agent`, {HOSTS:,} hosts, {BLOCKS:,} blocks, all routes made by it",
            f"{resident:.0f} MiB", target="< 150 MiB", met=resident < 150,
        )  # fmt: skip
        report.add("the most that it had meanwhile (VmHWM)", f"{peak:.0f} MiB")
        await writer.close()


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    middle, late = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return f"{middle * 1000:.2f} ms (p99 {late * 1000:.2f})"


async def _put(store: JetStream, writer: FencedWriter, events: Iterable[Event]) -> None:
    await writer.put([outgoing(event, "", now(), store.history) for event in events])
    await writer.flush()


def host(name: str, address: str) -> HostPlaced:
    return HostPlaced(node=name, uid=f"u-{name}", addresses=(address,))


def block(number: int, node: str) -> BlockAssigned:
    base = (100 << 24 | 64 << 16) + number * 32  # a gap behind each: none merges with another
    return BlockAssigned(network="pods", block=f"{format_address(32, base)}/28", node=node, since=1)


async def _latency(
    store: JetStream, writer: FencedWriter, url: str, kernel: Kernel
) -> tuple[list[float], list[float]]:
    await _put(store, writer, [block(0, "you-0")])
    await kernel.until(1)
    client = await nats.connect(url)
    arrived: asyncio.Queue[float] = asyncio.Queue()

    async def arrive(_: Any) -> None:
        arrived.put_nowait(time.perf_counter())

    jetstream = client.jetstream()
    subject = f"{store.layout.prefix}node.bench.bare"
    stream = store.layout.stream(NODE)
    await jetstream.subscribe(subject, stream=stream, cb=arrive, ordered_consumer=True)
    ours, bare = [], []
    for number in range(1, SINGLE + 1):
        one = block(number, f"you-{number % NEAR}")
        began = time.perf_counter()
        await _put(store, writer, [one])
        ours.append(await kernel.until(number + 1) - began)
        await asyncio.sleep(0.005)  # what one did must not be in the way of the next
        began = time.perf_counter()
        await jetstream.publish(subject, codec.encode(one), headers={"Nats-Msg-Id": f"bare{number}"})
        bare.append(await arrived.get() - began)
        await asyncio.sleep(0.005)
    await client.close()
    return ours, bare


async def _pods_elsewhere(store: JetStream, writer: FencedWriter, kernel: Kernel) -> int:
    """What the server has delivered to the routes' consumer, but for the block behind the pods."""
    before, count = await _delivered(store), kernel.count
    for at in range(0, PODS, 1000):
        await _put(store, writer, [_pod(number) for number in range(at, at + 1000)])
    await _put(store, writer, [block(SINGLE + 1, "you-0")])
    await kernel.until(count + 1)
    return await _delivered(store) - before - 1


async def _delivered(store: JetStream) -> int:
    listed = await store.api(f"CONSUMER.LIST.{store.layout.stream(IPAM)}", {"offset": 0})
    [ours] = [one for one in listed["consumers"] if one["name"].startswith(CONSUMER)]
    return int(ours["delivered"]["consumer_seq"])


def _pod(number: int) -> AddressAssigned:
    address = format_address(32, (100 << 24 | 96 << 16) + number)
    held = PodAddress(address=address, network="pods", block="100.96.0.0/11")
    return AddressAssigned(
        node=f"node-{number % HOSTS}", namespace="web", name=f"p{number}", uid=f"u{number}", tenant="web",
        addresses=(held,),
    )  # fmt: skip


async def _grow(store: JetStream, writer: FencedWriter, kernel: Kernel) -> None:
    there = kernel.count
    hosts = [host(f"node-{at}", f"10.99.{1 + at // 250}.{1 + at % 250}") for at in range(HOSTS)]
    await _put(store, writer, hosts)
    for at in range(0, BLOCKS, 1000):
        await _put(store, writer, [block(1000 + one, f"node-{one % HOSTS}") for one in range(at, at + 1000)])
    await kernel.until(there + BLOCKS)


async def _agent(store: JetStream, server: stage.Server) -> tuple[float, float]:
    """MiB of the whole agent of a node, and the most that it had: when it has made all routes in a kernel
    that had none, and has said so."""
    async with contextlib.AsyncExitStack() as stack:
        here = stack.enter_context(namespace("bench"))
        here.link("eth0", "10.99.0.1/16")
        sockets = relay.listening(here.name, ["127.0.0.1"], NATS_PORT)
        await stack.enter_async_context(relay.relayed(sockets, lambda: ("127.0.0.1", server.port)))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="romana-bench-"))
        arguments = ("agent", "--node", AGENT, "--nats", f"nats://127.0.0.1:{NATS_PORT}")
        directories = ("--run-dir", f"{scratch}/run", "--state-dir", f"{scratch}/state")
        with here.entered():
            process = stage.process(*arguments, *directories, "--cluster", store.cluster)
            agent = stack.enter_context(process)
        async with asyncio.timeout(60):
            while not await _has_all(store):
                await asyncio.sleep(0.1)
        return stage.resident(agent.pid), stage.resident(agent.pid, "VmHWM")


async def _has_all(store: JetStream) -> bool:
    newest = await store.newest(NODE, f"node.{AGENT}.{CONSUMER}")
    said = codec.decode(newest.body) if newest else None
    return isinstance(said, Applied) and said.standing["routes"] >= BLOCKS
