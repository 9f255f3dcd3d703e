"""Watch bytes to decoded facts, and to facts on the log.

The peer is kubernetes-asyncio's own `Watch`, given the same bytes: in memory, and over HTTP by the same
stand-in API server. Then the whole way, as processes: stand-in API server -> `romana-bus watch` -> log.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Any

import uvloop
from kubernetes_asyncio import client
from kubernetes_asyncio.watch import Watch

from benchmarks import sample, stage
from benchmarks.report import Report, rate, times
from romana_bus.events import KUBE
from romana_bus.kubernetes.api import Api, Target
from romana_bus.producers.kubernetes.objects import PODS
from romana_bus.producers.kubernetes.progress import Watched
from romana_bus.producers.kubernetes.watch_stream import WatchStream

if TYPE_CHECKING:
    import subprocess

EVENTS, PEER_EVENTS, ROUNDS = 60_000, 3_000, 3
CHANGES, LISTED = 150_000, 10_000


def in_memory(lines: list[bytes]) -> tuple[float, float]:
    """Seconds per event: ours, the peer's."""
    body = b"".join(lines)
    chunks = [body[at : at + (1 << 16)] for at in range(0, len(body), 1 << 16)]
    state = Watched()
    stream, facts, began = WatchStream(PODS, state), 0, time.perf_counter()
    for chunk in chunks:
        facts += len(stream.feed(chunk).events)
        state.take_bodies()  # as the watcher does when it publishes
    ours = (time.perf_counter() - began) / len(lines)
    assert facts == len(lines), f"{facts} facts of {len(lines)} events"
    return ours, asyncio.run(_peer_in_memory(lines[:PEER_EVENTS]))


async def _peer_in_memory(lines: list[bytes]) -> float:
    watch = Watch("V1Pod")
    began = time.perf_counter()
    for line in lines:
        assert watch.unmarshal_event(line.decode(), "V1Pod")["object"].metadata.name
    seconds = time.perf_counter() - began
    await watch.close()
    return seconds / len(lines)


def over_http(count: int, ours: bool) -> float:
    """Seconds per event."""
    with stage.process(
        "--pods", "10000", "--changes", str(count), module="benchmarks.kubernetes.stand_in"
    ) as server:
        url = _url(server)
        assert server.stdin is not None
        server.stdin.write(b"go\n")
        server.stdin.flush()
        reader = _ours_over_http(url, count) if ours else _peer_over_http(url, count)
        return uvloop.run(reader) / count


async def _ours_over_http(url: str, count: int) -> float:
    api = Api(Target(server=url))
    await api.open()
    state = Watched()
    stream, facts = WatchStream(PODS, state), 0
    async with await api.get(PODS.path, {"watch": "1", "resourceVersion": "1"}, 30.0) as answer:
        began = time.perf_counter()
        while facts < count:
            facts += len(stream.feed(await answer.content.readany()).events)
            state.take_bodies()
        seconds = time.perf_counter() - began
    await api.close()
    return seconds


async def _peer_over_http(url: str, count: int) -> float:
    configuration = client.Configuration()
    configuration.host = url
    async with client.ApiClient(configuration) as api, Watch() as watch:
        seen, began = 0, time.perf_counter()
        stream: Any = watch.stream(client.CoreV1Api(api).list_pod_for_all_namespaces, resource_version="1")
        async for event in stream:
            assert event["object"].metadata.name
            seen += 1
            if seen == count:
                break
        return time.perf_counter() - began


def to_the_log() -> float:
    """Changed pods a second, from the first byte of the first change to the last acknowledged fact."""
    with (
        stage.nats() as nats,
        stage.process(
            "--pods", str(LISTED), "--changes", str(CHANGES), module="benchmarks.kubernetes.stand_in"
        ) as server,
    ):
        url = _url(server)
        with stage.process("watch", "--server", url, *nats.options):
            return uvloop.run(_watched(nats, server))


async def _watched(nats: stage.Server, server: subprocess.Popen[bytes]) -> float:
    async with stage.store(nats.url, nats.verified) as store:
        before = await _until_quiet(store)
        began = time.perf_counter()
        assert server.stdin is not None
        server.stdin.write(b"go\n")
        server.stdin.flush()
        while (await store.tail(KUBE)).last < before + CHANGES:
            await asyncio.sleep(0.02)
        return CHANGES / (time.perf_counter() - began)


async def _until_quiet(store: Any) -> int:
    """All is listed; gives where the log ends then."""
    last = -1
    while True:
        tail = (await store.tail(KUBE)).last
        if tail == last and tail > LISTED:
            return int(tail)
        last = tail
        await asyncio.sleep(0.5)


def _url(server: subprocess.Popen[bytes]) -> str:
    assert server.stdout is not None
    return server.stdout.readline().decode().strip()


def main() -> None:
    report = Report("Watching the API server")
    lines = [sample.pod_line(number, 100 + number) for number in range(EVENTS)]
    size = sum(map(len, lines)) / len(lines)
    runs = [in_memory(lines) for _ in range(ROUNDS)]
    ours, peer = (statistics.median(run[at] for run in runs) for at in (0, 1))
    report.add(
        f"watch bytes to facts ({size:,.0f} bytes an event)", rate(1, ours),
        f"kubernetes-asyncio Watch {rate(1, peer)}", times(peer / ours), "≥ 50×", peer / ours >= 50,
    )  # fmt: skip
    ours = statistics.median(over_http(EVENTS, ours=True) for _ in range(ROUNDS))
    peer = over_http(PEER_EVENTS, ours=False)
    report.add(
        "the same over HTTP on loopback", rate(1, ours),
        f"kubernetes-asyncio Watch {rate(1, peer)}", times(peer / ours),
    )  # fmt: skip
    speeds = [to_the_log() for _ in range(ROUNDS)]
    median = statistics.median(speeds)
    report.add(
        "changed pods, API server to durable log", rate(median, 1), target="≥ 15,000/s", met=median >= 15_000
    )
    report.print()


if __name__ == "__main__":
    main()
