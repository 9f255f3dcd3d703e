"""Durable publishing in fenced batches, on a server that syncs every write and mirrors into the table.

Ours: events are encoded, numbered, stamped, queued and written by `FencedWriter`. The peer: a bare loop
on nats-py that sends the same messages, made beforehand, in the same batches of 1,000, as many of them in
flight, under the same fence, and does nothing else. Both in this process, turn by turn, on fresh streams.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from typing import TYPE_CHECKING

import nats
import uvloop

from benchmarks import sample, stage
from benchmarks.report import Report, rate, times
from romana_bus.bus.api import stamp
from romana_bus.bus.jetstream.store import IN_FLIGHT
from romana_bus.bus.writing.batches import BATCH
from romana_bus.events import IPAM, KUBE, AddressAssigned, PodAddress
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from nats.aio.client import Client

    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.events import Event

COUNT, ROUNDS = 200_000, 3


def facts() -> list[tuple[Event, str]]:
    return [(sample.pod(number, 100 + number, number % 5000), "") for number in range(COUNT)]


def decisions() -> list[tuple[Event, str]]:
    return [(_assigned(number), f"KUBE/{number + 1}") for number in range(COUNT)]


def _assigned(number: int) -> AddressAssigned:
    pod = sample.pod(number, 0, number % 5000)
    block = f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 240}/28"
    address = f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    return AddressAssigned(
        node=pod.node,
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        tenant=pod.namespace,
        addresses=(PodAddress(network="default", block=block, address=address),),
    )


async def ours(store: JetStream, role: str, events: list[tuple[Event, str]]) -> float:
    """Messages per second, until the last one is acknowledged."""
    writer = await stage.leader(store, role)
    began = time.perf_counter()
    for at in range(0, len(events), BATCH):
        moment = time.time_ns() // 1000
        part = events[at : at + BATCH]
        await writer.put([outgoing(event, cause, moment, store.history) for event, cause in part])
    await writer.flush()
    seconds = time.perf_counter() - began
    await writer.close()
    return len(events) / seconds


async def bare(store: JetStream, url: str, role: str, events: list[tuple[Event, str]]) -> float:
    """The same on nats-py alone."""
    elected = stage.elected(store, role)
    expected = await store.publish(role, elected)
    subject, numbers = store.layout.prefix, itertools.count(1)
    batches = []
    for at in range(0, len(events), BATCH):
        batch, moment = [], time.time_ns() // 1000
        for number, (event, cause) in enumerate(events[at : at + BATCH], 1):
            message = outgoing(event, cause, moment, store.history)
            headers = {
                "Nats-Batch-Id": f"b{at}",
                "Nats-Batch-Sequence": str(number),
                "Nats-Msg-Id": message.id or f"bare/{next(numbers)}",
                "Romana-Time": stamp(message.time),
            }
            if cause:
                headers["Romana-Cause"] = cause
            if number == 1:
                headers["Nats-Expected-Last-Sequence"] = str(expected + at)
                headers["Nats-Expected-Last-Subject-Sequence"] = str(expected)
                headers["Nats-Expected-Last-Subject-Sequence-Subject"] = subject + elected.subject
            batch.append((subject + message.subject, message.body, headers))
        batch[-1][2]["Nats-Batch-Commit"] = "1"
        batches.append(batch)
    client = await nats.connect(url)
    window = asyncio.Semaphore(IN_FLIGHT)
    answers: list[asyncio.Task[None]] = []
    began = time.perf_counter()
    for batch in batches:
        await window.acquire()
        for where, body, headers in batch[:-1]:
            await client.publish(where, body, headers=headers)
        answers.append(asyncio.create_task(_commit(client, batch[-1], window)))
        await asyncio.sleep(0)
    await asyncio.gather(*answers)
    seconds = time.perf_counter() - began
    await client.close()
    return len(events) / seconds


async def _commit(client: Client, last: tuple[str, bytes, dict[str, str]], window: asyncio.Semaphore) -> None:
    where, body, headers = last
    answer = json.loads((await client.request(where, body, headers=headers, timeout=10)).data)
    assert "error" not in answer, answer
    window.release()


def measured(role: str, events: list[tuple[Event, str]]) -> tuple[float, float]:
    """Medians over turns; who begins changes with every turn. Each run has a server of its own: what the
    mirror still has to do for one must not burden the next."""
    runs: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(ROUNDS):
        for who in ("ours", "bare") if turn % 2 else ("bare", "ours"):
            with stage.nats() as server:
                runs[who].append(uvloop.run(_once(server, who, role, events)))
    return statistics.median(runs["ours"]), statistics.median(runs["bare"])


async def _once(server: stage.Server, who: str, role: str, events: list[tuple[Event, str]]) -> float:
    async with stage.store(server.url, server.verified) as store:
        if who == "ours":
            return await ours(store, role, events)
        return await bare(store, server.url, role, events)


def main() -> None:
    report = Report("Publishing in fenced batches, sync_interval: always, with the table's mirror")
    for role, what, events in ((KUBE, "facts (pods)", facts()), (IPAM, "decisions (addresses)", decisions())):
        speed, peer = measured(role, events)
        report.add(
            what, rate(speed, 1), f"bare nats-py loop {rate(peer, 1)}", times(speed / peer),
            "≥ 40,000/s, ≥ 0.8×", speed >= 40_000 and speed / peer >= 0.8,
        )  # fmt: skip
    report.print()


if __name__ == "__main__":
    main()
