"""From the table to a ready IPAM state: 150,000 pods on 5,000 nodes, with their addresses and blocks.

The peer is a bare pull loop on nats-py that counts the same messages: one callback, 4 requests of 1,000 in
flight, nothing decoded. Each reader is a process of its own. Beside it: the time to fold the whole log of
a million events that led there, and the memory of `romana-bus run ipam` when it leads.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
import nats
import uvloop

from benchmarks import sample, stage
from benchmarks.report import Report, rate, times
from romana_bus.bus.api import Position
from romana_bus.bus.clock import wall as now
from romana_bus.consumers.ipam import decider
from romana_bus.events import IPAM, KUBE, ResourceSynced
from romana_bus.ipam import Settings, evolve, parts
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.fold import Fold
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.events import Event

NODES, PODS, EVENTS, ROUNDS = 5_000, 150_000, 1_000_000, 3
SETTINGS = Settings()


# --- the store that is read ---------------------------------------------------------------------------


async def fill(url: str) -> None:
    """A million events, as the watcher and the first decider would have left them."""
    async with stage.store(url) as store:
        facts = list(_first_facts())
        state = decider(SETTINGS).initial()
        for seq, event in enumerate(facts, 1):
            evolve(state, event, seq)
        decided = [(decision.event, decision.cause) for part in parts(state) for decision in part]
        await _write(store, KUBE, [(event, "") for event in facts])
        await _write(store, IPAM, decided)
        left = EVENTS - len(facts) - len(decided) - 3  # and each of the three writers was elected
        await _write(store, KUBE, ((event, "") for event in _changes(left)))
        await _until_mirrored(store)
        await _compacted(store)


def _first_facts() -> Iterator[Event]:
    for number in range(NODES):
        yield sample.node(number, 1 + number)
    yield ResourceSynced(resource="nodes", resource_version=str(NODES), count=NODES)
    for number in range(PODS):
        yield sample.pod(number, 10_000 + number, number % NODES, phase="Pending")
    yield ResourceSynced(resource="pods", resource_version=str(10_000 + PODS), count=PODS)


def _changes(count: int) -> Iterator[Event]:
    phases = ("Running", "Pending")
    for at in range(count):
        number = at % PODS
        yield sample.pod(number, 1_000_000 + at, number % NODES, phase=phases[at // PODS % 2])


async def _write(store: JetStream, role: str, events: Iterable[tuple[Event, str]]) -> None:
    writer = await stage.leader(store, role)
    for event, cause in events:
        await writer.put([outgoing(event, cause, now(), store.history)])
    await writer.flush()
    await writer.close()


async def _until_mirrored(store: JetStream) -> None:
    for role in (KUBE, IPAM):
        while (await store.stream_tail(store.layout.table(role))).last < (await store.tail(role)).last:
            await asyncio.sleep(0.1)


async def _compacted(store: JetStream) -> None:
    """Compacts the tables, as their leaders do all the time: then each has one message of each entity."""
    compacting = [asyncio.create_task(store.compact(role)) for role in (KUBE, IPAM)]
    for role in (KUBE, IPAM):
        while (state := await _state(store, store.layout.table(role)))["messages"] > state["num_subjects"]:
            await asyncio.sleep(1.0)
    for task in compacting:
        await stop(task)


async def _state(store: JetStream, stream: str) -> dict[str, Any]:
    """JetStream's StreamState."""
    info: dict[str, Any] = await store.api(f"STREAM.INFO.{stream}")
    state: dict[str, Any] = info["state"]
    return state


# --- the readers ----------------------------------------------------------------------------------------


async def ours(store: JetStream, _: str) -> float:
    """Boot as the loop does, until the state has nothing left to decide."""
    consumer = decider(SETTINGS)
    began = time.perf_counter()
    fold = Fold(store, consumer, "benchmark")
    await fold.boot()
    consumer.tick(fold.state, now())
    undecided = sum(len(part) for part in consumer.decide(fold.state))
    seconds = time.perf_counter() - began
    await fold.feed.close()
    assert fold.state.ready, "not ready"
    assert not undecided, f"{undecided} decisions were open"
    assert len(fold.state.pods) == PODS, len(fold.state.pods)
    return seconds


async def log(store: JetStream, _: str) -> float:
    """Fold every event from the first on, without the table."""
    fold = Fold(store, decider(SETTINGS), "benchmark")
    began = time.perf_counter()
    for role in (KUBE, IPAM):
        tail = await store.tail(role)
        start = Position(tail.epoch, tail.first - 1, "")
        fold.feed.positions[role] = start
        fold.feed._readings[role] = store.follow(role, ">", start, fold.feed._wake, "benchmark")
        while fold.feed.positions[role].seq < tail.last:
            fold.take()
            await fold.feed.wait(1.0)
        await fold.feed.drop(role)
    assert len(fold.state.pods) == PODS, len(fold.state.pods)
    return time.perf_counter() - began


async def bare(store: JetStream, url: str) -> float:
    """nats-py alone, both tables, counted."""
    client = await nats.connect(url)
    began = time.perf_counter()
    for role in (KUBE, IPAM):
        await _count(client, store.layout.table(role))
    seconds = time.perf_counter() - began
    await client.close()
    return seconds


async def _count(client: Any, stream: str) -> int:
    jetstream = client.jetstream()
    wanted: int = (await jetstream.stream_info(stream)).state.messages
    consumer = await jetstream.add_consumer(stream, ack_policy="none", mem_storage=True)
    inbox, done, count = client.new_inbox(), asyncio.Event(), 0
    ask = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer.name}"

    async def counted(_: Any) -> None:
        nonlocal count
        count += 1
        if count % 1000 == 0:
            await client.publish(ask, b'{"batch":1000}', reply=inbox)
        if count == wanted:
            done.set()

    subscription = await client.subscribe(inbox, cb=counted, pending_msgs_limit=-1, pending_bytes_limit=-1)
    for _ in range(4):
        await client.publish(ask, b'{"batch":1000}', reply=inbox)
    await done.wait()
    await subscription.unsubscribe()
    return count


READERS = {"ours": ours, "log": log, "bare": bare}


async def _read(url: str, who: str) -> None:
    async with stage.store(url) as store:
        messages = 0
        for role in (KUBE, IPAM):
            stream = store.layout.stream(role) if who == "log" else store.layout.table(role)
            messages += (await _state(store, stream))["messages"]
        print(msgspec.json.encode([messages, await READERS[who](store, url)]).decode())


def reader(server: stage.Server, who: str) -> tuple[int, float]:
    """Messages and seconds of one reader, in a process of its own."""
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.log.boot", "--reader", who, server.url],
        check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    messages, seconds = msgspec.json.decode(said.stdout)
    return messages, seconds


# --- memory -------------------------------------------------------------------------------------------


def memory(server: stage.Server) -> float:
    """MiB resident of `romana-bus run ipam`, once it leads and has looked at everything."""
    with stage.process("run", "ipam", *server.options) as process:
        uvloop.run(_until_led(server.url))
        return stage.resident(process.pid)


async def _until_led(url: str) -> None:
    async with stage.store(url) as store:
        last = (await store.tail(IPAM)).last
        while (await store.tail(IPAM)).last == last:
            await asyncio.sleep(0.2)
        await asyncio.sleep(2.0)  # whatever it still allocates after its election


def main() -> None:
    report = Report("Boot: 150,000 pods on 5,000 nodes, from the tables of KUBE and IPAM")
    # Filling is not measured, and reading does not sync: without `always` it takes a tenth of the time.
    with TemporaryDirectory() as scratch, stage.Server(Path(scratch), "10s") as server:
        uvloop.run(fill(server.url))
        runs: dict[str, list[tuple[int, float]]] = {who: [] for who in READERS}
        for _ in range(ROUNDS):
            for who, found in runs.items():
                found.append(reader(server, who))
        resident = memory(server)
    speeds = {who: statistics.median(count / took for count, took in found) for who, found in runs.items()}
    seconds = {who: statistics.median(took for _, took in found) for who, found in runs.items()}
    ratio = speeds["ours"] / speeds["bare"]
    report.add(
        f"tables to a ready IPAM state, {runs['ours'][0][0]:,} messages in {seconds['ours']:.1f} s",
        rate(speeds["ours"], 1), f"bare nats-py pull loop counting {rate(speeds['bare'], 1)}",
        times(ratio), "≥ 0.6×", ratio >= 0.6,
    )  # fmt: skip
    report.add(
        f"the whole log folded, {runs['log'][0][0]:,} events in {seconds['log']:.1f} s",
        rate(speeds["log"], 1),
    )
    report.add("memory of the IPAM process", f"{resident:.0f} MiB", target="< 300 MiB", met=resident < 300)
    report.print()


if __name__ == "__main__":
    if "--reader" in sys.argv:
        uvloop.run(_read(sys.argv[3], sys.argv[2]))
    else:
        main()
