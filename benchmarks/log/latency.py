"""Pod seen to address on the log: `romana-bus run ipam` as a process, on a server that syncs every write.

Unloaded, one pod at a time, from the moment its fact is handed to the writer, and from the moment it is on
the log, until its address arrives at somebody who follows. The peer, turn by turn in the same run: one
durable publish on plain nats-py, from call to acknowledgement. Then under load: 1,000 new pods a second
for 30 s (the rate of the largest clusters published), each on one of 1,000 nodes, while as many go.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from typing import TYPE_CHECKING, Any

import nats
import uvloop

from benchmarks import sample, stage
from benchmarks.report import Report, times
from romana_bus.bus.api import Message, Position
from romana_bus.bus.clock import wall as now
from romana_bus.bus.reading.tail import tail
from romana_bus.events import IPAM, KUBE, AddressAssigned, Event, PodGone, PodSeen, ResourceSynced, codec
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.bus.writing.write import FencedWriter

#: Of the way from a fact handed over to its address seen, by the times that stand on the log.
PARTS = (
    "handed over to on KUBE's log", "to taken up and decided", "to on IPAM's log", "to seen by who follows",
)  # fmt: skip
NODES, SINGLE, RATE, SECONDS, LIVING = 1_000, 500, 1_000, 30, 5_000


class Watcher:
    """Puts facts on the log as the watcher does, and sees addresses arrive."""

    def __init__(self, store: JetStream, writer: FencedWriter, after: Position) -> None:
        self.store, self.writer, self.wake = store, writer, asyncio.Event()
        self.reading = store.follow(IPAM, "ipam.address.>", after, self.wake, "benchmark")
        self.arrived: dict[str, float] = {}  # pod -> when its address was here
        self.version = 10_000_000

    async def tell(self, *events: Event) -> None:
        await self.writer.put([outgoing(event, "", now(), self.store.history) for event in events])

    def take(self) -> None:
        self.wake.clear()
        messages, here = self.reading.take(), time.perf_counter()
        for message in messages:
            event = codec.decode(message.body)
            if isinstance(event, AddressAssigned):
                self.arrived.setdefault(event.name, here)

    async def until(self, *names: str) -> None:
        while not all(name in self.arrived for name in names):
            await self.wake.wait()
            self.take()

    def pod(self, number: int) -> Any:
        self.version += 1
        return sample.pod(number, self.version, number * 7 % NODES)

    def gone(self, number: int) -> PodGone:
        pod = self.pod(number)
        return PodGone(
            resource_version=pod.resource_version, uid=pod.uid, name=pod.name, namespace=pod.namespace
        )

    async def close(self) -> None:
        await self.reading.close()
        await self.writer.close()


async def _watcher(store: JetStream) -> Watcher:
    tail = await store.tail(IPAM)
    return Watcher(store, await stage.leader(store, KUBE), Position(tail.epoch, tail.last, ""))


async def _cluster(watcher: Watcher) -> None:
    """The nodes, listed in full, and one pod with an address: the decider is at work."""
    await watcher.tell(*(sample.node(number, 1 + number) for number in range(NODES)))
    first = watcher.pod(0)
    await watcher.tell(
        first,
        ResourceSynced(resource="nodes", resource_version=str(NODES), count=NODES),
        ResourceSynced(resource="pods", resource_version=first.resource_version, count=1),
    )
    await watcher.until(first.name)


async def _unloaded(watcher: Watcher, url: str) -> tuple[list[float], list[float], list[float]]:
    """Seconds: told to address, on the log to address, bare acknowledgement."""
    client = await nats.connect(url)
    jetstream = client.jetstream()
    told, logged, acked = [], [], []
    for number in range(1, SINGLE + 1):
        pod = watcher.pod(number)
        began = time.perf_counter()
        await watcher.tell(pod)
        await watcher.writer.flush()
        on_the_log = time.perf_counter()
        await watcher.until(pod.name)
        told.append(watcher.arrived[pod.name] - began)
        logged.append(watcher.arrived[pod.name] - on_the_log)
        await asyncio.sleep(0.01)  # what one did must not be in the way of the next
        began = time.perf_counter()
        await jetstream.publish(
            f"{watcher.store.layout.prefix}spec.bench",
            codec.encode(pod),
            headers={"Nats-Msg-Id": f"b{number}"},
        )
        acked.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    await client.close()
    return told, logged, acked


async def _loaded(watcher: Watcher) -> tuple[list[float], dict[str, list[float]]]:
    """Seconds from told to address, of each pod; and each part of that way, by what the log says."""
    first, count = 1_000_000, RATE * SECONDS
    told: dict[str, float] = {}
    ahead = time.time() - time.perf_counter()

    async def feed() -> None:
        began = time.perf_counter()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            pod = watcher.pod(first + number)
            told[pod.name] = time.perf_counter()
            await watcher.tell(*([pod] if number < LIVING else [pod, watcher.gone(first + number - LIVING)]))

    feeding = asyncio.create_task(feed())
    while not feeding.done() or told.keys() - watcher.arrived.keys():
        await watcher.wake.wait()
        watcher.take()
    await feeding
    way: dict[str, list[float]] = {}
    stored = await _stored(watcher.store, KUBE, PodSeen)
    decided = await _stored(watcher.store, IPAM, AddressAssigned)
    for name, at in told.items():
        fact, address = stored[name], decided[name]
        points = (at + ahead, fact.stored / 1e6, address.time / 1e6, address.stored / 1e6,
                  watcher.arrived[name] + ahead)  # fmt: skip
        for part, (begun, over) in zip(PARTS, itertools.pairwise(points), strict=True):
            way.setdefault(part, []).append(over - begun)
    return [watcher.arrived[name] - at for name, at in told.items()], way


async def _stored(store: JetStream, role: str, kind: type[PodSeen | AddressAssigned]) -> dict[str, Message]:
    """The first message of that kind about each pod, by its name."""
    found: dict[str, Message] = {}
    async for batch in tail(store, (role,), 1_000_000, follow=False):
        for _, message in batch:
            if isinstance(event := codec.decode(message.body), kind):
                found.setdefault(event.name, message)
    return found


async def _measure(server: stage.Server) -> Report:
    report = Report("Pod seen to address on the log")
    async with stage.store(server.url, server.verified) as store:
        watcher = await _watcher(store)
        await _cluster(watcher)
        told, logged, acked = await _unloaded(watcher, server.url)
        ack = statistics.median(acked)
        ratio = statistics.median(told) / ack
        peer = f"durable publish acknowledged, nats-py {_ms(ack)}"
        report.add(
            "unloaded, median, fact handed over to address seen", _ms(statistics.median(told)),
            peer, times(ratio), "≤ 4×", ratio <= 4,
        )  # fmt: skip
        report.add(
            "unloaded, median, fact on the log to address seen", _ms(statistics.median(logged)),
            peer, times(statistics.median(logged) / ack),
        )  # fmt: skip
        loaded, way = await _loaded(watcher)
        report.add(f"p50 at {RATE:,} pods/s", _ms(_at(loaded, 50)))
        p99 = _at(loaded, 99)
        report.add(f"p99 at {RATE:,} pods/s", _ms(p99), target="< 25 ms", met=p99 < 0.025)
        for part, seconds in way.items():
            report.add(f"... of it {part}, p50", f"{_ms(_at(seconds, 50))} (p99 {_ms(_at(seconds, 99))})")
        await watcher.close()
    return report


def _at(seconds: list[float], percent: int) -> float:
    return sorted(seconds)[len(seconds) * percent // 100]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def main() -> None:
    with stage.nats() as server, stage.process("run", "ipam", *server.options, "--cooldown", "5"):
        report = uvloop.run(_measure(server))
    report.print()


if __name__ == "__main__":
    main()
