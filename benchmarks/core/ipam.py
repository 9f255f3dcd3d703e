"""The pure core of addresses on one core: no log, no clock, no I/O.

The allocator alone: which address a pod on a host gets is chosen as `decide` chooses it, taken, and given
back. The whole core: pods come and go as facts, `decide` answers with events, everything is folded and
cools down. Making the facts is not counted: they come decoded from the log.

The peers: netaddr's IPSet as a plain pool in memory, at its best, as its free room is in few pieces (with
150,000 live addresses in it); and Debian's CNI plugin `host-local`, which is a process for every call and
a file for every address. Speeds are medians, with the slowest and the fastest run behind them.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec
from netaddr import IPAddress, IPSet

from benchmarks import sample
from benchmarks.report import Report, times
from romana_bus.events import (
    AddressAssigned,
    AddressReleased,
    PodGone,
    PodSeen,
    ResourceSynced,
    TopologySet,
    codec,
)
from romana_bus.inet import format_address
from romana_bus.ipam import Settings, State, Tick, decide, evolve
from romana_bus.ipam.allocate.assign import take
from romana_bus.ipam.allocate.context import Context
from romana_bus.ipam.allocate.select import choose

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.ipam.allocate.context import Decision
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod

HOST_LOCAL = Path("/usr/lib/cni/host-local")
BATCH, ROUNDS, SECOND = 1_000, 5, 1_000_000
#: How many addresses `host-local` has on its disk before it is measured.
ON_DISK = 0, 1_500
#: What go-ipam's README states: acquisitions a second.
PUBLISHED = "published by go-ipam, not measured here: 196,687/s in memory, 368/s on etcd"


class Size(NamedTuple):
    hosts: int
    pods: int

    def __str__(self) -> str:
        return f"{self.hosts:,} hosts, {self.pods:,} pods"


SMALL, LARGE = Size(50, 1_500), Size(5_000, 150_000)


def document() -> dict[str, object]:
    """A /8 split over the zones, blocks of 32."""
    zones = [
        {"name": zone, "assignment": {"topology.kubernetes.io/zone": f"eu-1{zone}"}, "groups": []}
        for zone in "abcd"
    ]
    network = {"name": "pods", "cidr": "10.0.0.0/8", "block_mask": 27}
    return {"networks": [network], "topologies": [{"networks": ["pods"], "map": zones}]}


def empty(size: Size) -> State:
    state = State(Settings())
    evolve(state, Tick(1_700_000_000 * SECOND))
    for resource in ("nodes", "pods"):
        evolve(state, ResourceSynced(resource=resource, resource_version="1", count=0))
    evolve(state, TopologySet(document=document()))
    for number in range(size.hosts):
        evolve(state, sample.node(number, 1 + number), number + 1)
    decide(state)
    return state


def pod(number: int, size: Size) -> PodSeen:
    return _decoded(sample.pod(number, 10**6 + number, number % size.hosts))


def _decoded(pod: PodSeen) -> PodSeen:
    """As the log's decoder gives it: every string its own."""
    seen = codec.decode(codec.encode(pod))
    assert isinstance(seen, PodSeen)
    return seen


def full(size: Size) -> State:
    state = empty(size)
    for number in range(size.pods):
        evolve(state, pod(number, size), number + 1)
        if number % BATCH == BATCH - 1:
            decide(state)
    decide(state)
    return state


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
        seen = [pod(first[0] + at, size) for at in range(count)]
        gone = [_gone(one, 10**9 + first[0] + at) for at, one in enumerate(seen)]
        first[0] += count
        return seen, gone

    def once() -> float:
        seen, gone = facts(10 * BATCH)
        began = time.perf_counter()
        for at in range(0, len(seen), BATCH):
            _answered(state, seen[at : at + BATCH])
            _answered(state, gone[at : at + BATCH])
            evolve(state, Tick(state.now + 10 * SECOND))
        return len(seen) / (time.perf_counter() - began)

    seen, gone = facts(BATCH)
    assert _count(_answered(state, seen), AddressAssigned) == BATCH
    assert _count(_answered(state, gone), AddressReleased) == BATCH
    return once


def _gone(seen: PodSeen, version: int) -> PodGone:
    return PodGone(resource_version=str(version), uid=seen.uid, namespace=seen.namespace, name=seen.name)


def _answered(state: State, facts: list[PodSeen] | list[PodGone]) -> list[Decision]:
    for fact in facts:
        evolve(state, fact, 1)
    return decide(state)


def _count(decisions: list[Decision], kind: type) -> int:
    return sum(isinstance(decision.event, kind) for decision in decisions)


# --- memory ------------------------------------------------------------------------------------------------


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bytes_per_address() -> float:
    """In a process of its own: what it has more with all pods than with none."""
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.core.ipam", "--memory"], check=True, stdout=subprocess.PIPE
    )
    return float(said.stdout)


def print_memory() -> None:
    """Pods come a batch at a time; once they have addresses, they report them."""
    state, chance = empty(LARGE), Random(1)
    before = resident()
    for at in range(0, LARGE.pods, BATCH):
        batch = [_deployed(number, chance) for number in range(at, at + BATCH)]
        given = {
            decision.event.uid: decision.event.addresses[0].address
            for decision in _answered(state, batch)
            if isinstance(decision.event, AddressAssigned)
        }
        _answered(state, [_running(one, given[one.uid]) for one in batch])
    del batch, given
    held = sum(record.block is not None for host in state.hosts.values() for record in host.records.values())
    assert held == LARGE.pods
    print((resident() - before) / held)


def _deployed(number: int, chance: Random) -> PodSeen:
    """A Deployment's pod in an old cluster: a name of 31 letters, a uid that looks like no other, and a
    resource version that has grown."""
    ending = "".join(chance.choices("bcdfghjklmnpqrstvwxz2456789", k=15))
    return _decoded(
        msgspec.structs.replace(
            pod(number, LARGE),
            namespace=f"team-{number % 50}",
            name=f"checkout-{number % 997:05}-{ending[:10]}-{ending[10:]}",
            uid=str(UUID(int=chance.getrandbits(128), version=4)),
            phase="Pending",
            resource_version=str(10**9 + number),
        )
    )


def _running(seen: PodSeen, address: str) -> PodSeen:
    version = str(int(seen.resource_version) + LARGE.pods)
    return _decoded(msgspec.structs.replace(seen, phase="Running", ips=(address,), resource_version=version))


# --- peers -------------------------------------------------------------------------------------------------


def netaddr_pool(live: int) -> Callable[[], float]:
    """The lowest free address of a set of networks; its `remove` and `add` keep the set compact."""
    free = IPSet(["10.0.0.0/8"]) - IPSet(_covering(live))

    def once() -> float:
        count = 300
        began = time.perf_counter()
        for _ in range(count):
            address: IPAddress = next(iter(free))
            free.remove(address)
            free.add(address)
        return count / (time.perf_counter() - began)

    return once


def _covering(count: int) -> list[str]:
    """The first `count` addresses of 10.0.0.0/8 as networks."""
    networks, at = [], 10 << 24
    for bit in reversed(range(count.bit_length())):
        if count >> bit & 1:
            networks.append(f"{format_address(32, at)}/{32 - bit}")
            at += 1 << bit
    return networks


def host_local(live: int) -> Callable[[], float]:
    """ADD and DEL, each a process, with `live` addresses on its disk already."""
    folder = tempfile.TemporaryDirectory(prefix="host-local-")
    ranges = [[{"subnet": "10.0.0.0/16"}]]
    network = {"type": "host-local", "ranges": ranges, "dataDir": folder.name}
    config = json.dumps({"cniVersion": "1.0.0", "name": "bench", "type": "ptp", "ipam": network}).encode()
    directory = Path(folder.name) / "bench"
    directory.mkdir()
    for at in range(2, live + 2):
        (directory / format_address(32, (10 << 24) + at)).write_text(f"live-{at}\r\neth0")
    environment = {"CNI_NETNS": "/proc/self/ns/net", "CNI_IFNAME": "eth0", "CNI_PATH": str(HOST_LOCAL.parent)}

    def call(command: str, container: str) -> None:
        subprocess.run(
            [HOST_LOCAL],
            input=config,
            env={**environment, "CNI_COMMAND": command, "CNI_CONTAINERID": container},
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def once() -> float:
        assert folder.name
        began = time.perf_counter()
        for at in range(100):
            call("ADD", f"pod-{at}")
            call("DEL", f"pod-{at}")
        return 100 / (time.perf_counter() - began)

    return once


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
    print_memory() if "--memory" in sys.argv else main()
