"""The pure core of addresses on one core: no log, no clock, no I/O.

The allocator alone: which address a pod on a host gets is chosen as `decide` chooses it, taken, and given
back. The whole core: pods come and go as facts, `decide` answers with events, everything is folded and
cools down. Making the facts is not counted: they come decoded from the log.

The peers: netaddr's IPSet as a plain pool in memory, at its best, as its free room is in few pieces (with
150,000 live addresses in it); and Debian's CNI plugin `host-local`, which is a process for every call and
a file for every address. Speeds are medians, with the slowest and the fastest run behind them.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.core.cluster import BATCH, LARGE, SMALL, Size, decisions_on, full, seen_pod
from benchmarks.core.memory import bytes_per_address
from benchmarks.core.peers import HOST_LOCAL, host_local, netaddr_pool
from benchmarks.report import Report, times
from romana_bus.events import (
    AddressAssigned,
    AddressReleased,
    PodGone,
    PodSeen,
)
from romana_bus.events.base import SECOND
from romana_bus.ipam import Tick, evolve
from romana_bus.ipam.allocate.assign import take
from romana_bus.ipam.allocate.context import Context
from romana_bus.ipam.allocate.select import choose

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.ipam.allocate.context import Decision
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod

ROUNDS = 5
#: How many addresses `host-local` has on its disk before it is measured.
ON_DISK = 0, 1_500
#: What go-ipam's README states: acquisitions a second.
PUBLISHED = "published by go-ipam, not measured here: 196,687/s in memory, 368/s on etcd"


# --- the allocator alone ---------------------------------------------------------------------------------


def allocator(size: Size) -> Callable[[], float]:
    """Pairs a second: a batch of addresses is taken, spread over all hosts, and given back."""
    state = full(size)
    context = Context(state, BATCH)
    names = sorted(state.hosts)
    pods = [next(iter(state.hosts[name].records)) for name in names]
    pairs = [(state.pods[key], state.hosts[name]) for key, name in zip(pods, names, strict=True)]
    wanting = [pairs[at * 7919 % len(pairs)] for at in range(20 * BATCH)]

    def once() -> float:
        began = time.perf_counter()
        for at in range(0, len(wanting), BATCH):
            _batch(context, wanting[at : at + BATCH])
        return len(wanting) / (time.perf_counter() - began)

    return once


def _batch(context: Context, wanting: list[tuple[Pod, Host]]) -> None:
    state = context.state
    taken = []
    for pod, host in wanting:
        for choice in choose(context, pod, host):
            held = take(context, pod, host, choice)
            block, offset = held.block, held.offset
            before = block.busy
            block.use(offset)
            state.touched(block, before)
            taken.append(held)
    assert len(taken) == len(wanting), "a host had no room"
    for held in taken:
        before = held.block.busy
        held.block.release(held.offset)
        state.touched(held.block, before)


# --- the whole core ----------------------------------------------------------------------------------------


def whole(size: Size) -> Callable[[], float]:
    """Pairs a second: pods are seen, get their addresses, are gone, and their addresses cool down."""
    state, first = full(size), [size.pods]

    def facts(count: int) -> tuple[list[PodSeen], list[PodGone]]:
        seen = [seen_pod(first[0] + at, size) for at in range(count)]
        gone = [_gone(one, 10**9 + first[0] + at) for at, one in enumerate(seen)]
        first[0] += count
        return seen, gone

    def once() -> float:
        seen, gone = facts(10 * BATCH)
        began = time.perf_counter()
        for at in range(0, len(seen), BATCH):
            decisions_on(state, seen[at : at + BATCH])
            decisions_on(state, gone[at : at + BATCH])
            evolve(state, Tick(state.now + 10 * SECOND))
        return len(seen) / (time.perf_counter() - began)

    seen, gone = facts(BATCH)
    assert _count(decisions_on(state, seen), AddressAssigned) == BATCH
    assert _count(decisions_on(state, gone), AddressReleased) == BATCH
    return once


def _gone(seen: PodSeen, version: int) -> PodGone:
    return PodGone(resource_version=str(version), uid=seen.uid, namespace=seen.namespace, name=seen.name)


def _count(decisions: list[Decision], kind: type) -> int:
    return sum(isinstance(decision.event, kind) for decision in decisions)


# --- the report --------------------------------------------------------------------------------------------


class Speed(NamedTuple):
    """Pairs a second of several runs."""

    median: float
    slowest: float
    fastest: float

    def __str__(self) -> str:
        digits = 0 if self.median >= 100 else 1
        return f"{self.median:,.{digits}f}/s ({self.slowest:,.{digits}f}–{self.fastest:,.{digits}f})"


def speeds(*kinds: Callable[[], float]) -> list[Speed]:
    """Turn by turn, so that what the machine does besides falls on all of them."""
    runs = [[kind() for kind in kinds] for _ in range(ROUNDS)]
    return [Speed(statistics.median(runs), min(runs), max(runs)) for runs in zip(*runs, strict=True)]


def main() -> None:
    report = Report("Addresses in the pure core, one core, allocate and release as one pair")
    small, large, pool = speeds(allocator(SMALL), allocator(LARGE), netaddr_pool(LARGE.pods))
    peer = f"netaddr.IPSet {pool}"
    _fast(report, "the allocator", large, peer, pool)
    if HOST_LOCAL.exists():
        for live, process in zip(ON_DISK, speeds(*map(host_local, ON_DISK)), strict=True):
            ratio = times(large.median / process.median)
            report.add("", f"{large}", f"host-local, {live:,} live: {process}", ratio)
    else:
        report.add("", "", "host-local is not installed: apt-get install containernetworking-plugins")
    report.add("", "", PUBLISHED)
    _costs(report, "the allocator", small, large)
    small, large = speeds(whole(SMALL), whole(LARGE))
    _fast(report, "the whole core", large, peer, pool)
    _costs(report, "the whole core", small, large)
    memory = bytes_per_address()
    report.add("memory for a live address", f"{memory:.0f} bytes", "", "", "≤ 400 bytes", memory <= 400)
    report.print()


def _fast(report: Report, what: str, speed: Speed, peer: str, pool: Speed) -> None:
    ratio, met = times(speed.median / pool.median), speed.median >= 150_000
    report.add(f"{what}, {LARGE}", f"{speed}", peer, ratio, "≥ 150,000/s", met)


def _costs(report: Report, what: str, small: Speed, large: Speed) -> None:
    report.add(
        f"{what}: cost at {LARGE.pods:,} to that at {SMALL.pods:,} pods",
        f"{1e6 / large.median:.2f} µs",
        f"{1e6 / small.median:.2f} µs",
        times(small.median / large.median),
        "≤ 1.5×",
        small.median / large.median <= 1.5,
    )


if __name__ == "__main__":
    main()
