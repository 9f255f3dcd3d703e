"""What waiting pods cost the others: a decision about a pod that requests nothing, while others wait on the
same nodes, for fixed addresses that are in use, or for an address of a full network.

The peer is the same core without waiting pods. Turn by turn, medians.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from benchmarks.core.cluster import SMALL, Size, decisions_on, document, full, seen_pod
from benchmarks.report import Report, times
from romana_bus.events import AddressDenied, PodGone, PodSeen, RangeReserved, TopologySet
from romana_bus.events.base import SECOND
from romana_bus.ipam import Tick, decide, evolve
from romana_bus.ipam.model.annotations import ADDRESS, NETWORK

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.ipam import State
    from romana_bus.ipam.model.nodes import Host

WAITING, PAIRS, ROUNDS = 400, 200, 9


def pairs(size: Size, request: Callable[[State, int], dict[str, str]] | None = None) -> Callable[[], float]:
    """Seconds for a pair: a pod is seen and gets its address, is gone and gives it back, one at a time.
    `request`: the annotations of each pod that waits; None if there is no such pod."""
    state, first = full(size), [size.pods]
    evolve(state, TopologySet(document=two_networks()))
    evolve(state, RangeReserved(cidr="11.0.0.0/27"))
    decide(state)
    if request:
        _wait(state, request)

    def once() -> float:
        seen = [seen_pod(first[0] + at, size) for at in range(PAIRS)]
        gone = [
            PodGone(
                resource_version=str(10**9 + first[0] + at),
                uid=pod.uid,
                namespace=pod.namespace,
                name=pod.name,
            )
            for at, pod in enumerate(seen)
        ]
        first[0] += PAIRS
        began = time.perf_counter()
        for pod, end in zip(seen, gone, strict=True):
            decisions_on(state, [pod])
            decisions_on(state, [end])
        spent = time.perf_counter() - began
        evolve(state, Tick(state.now + 60 * SECOND))
        return spent / PAIRS

    once()
    return once


def two_networks() -> dict[str, Any]:
    """The network of the pods, and one that is reserved as a whole."""
    both: dict[str, Any] = document()
    both["networks"].append({"name": "full", "cidr": "11.0.0.0/27", "block_mask": 27})
    both["topologies"].append({"networks": ["full"], "map": [{"groups": []}]})
    return both


def address_of_another(state: State, number: int) -> dict[str, str]:
    """The address of a pod on the node on which pod `number` waits."""
    host = _host(state, number)
    return {ADDRESS: next(record.addresses[0] for record in host.records.values() if record.addresses)}


def full_network(_state: State, _number: int) -> dict[str, str]:
    return {NETWORK: "full"}


def _host(state: State, number: int) -> Host:
    return state.hosts[sorted(state.hosts)[number % len(state.hosts)]]


def _wait(state: State, request: Callable[[State, int], dict[str, str]]) -> None:
    pods = [
        PodSeen(
            resource_version=str(10**8 + number), uid=f"waits-{number}", namespace="waits",
            name=f"waits-{number}", node=_host(state, number).name, annotations=request(state, number),
        )
        for number in range(WAITING)
    ]  # fmt: skip
    denied = sum(isinstance(decision.event, AddressDenied) for decision in decisions_on(state, pods))
    assert denied == WAITING, "a pod that should wait got an address"


def main() -> None:
    report = Report("What waiting pods cost the others")
    kinds = [pairs(SMALL), pairs(SMALL, address_of_another), pairs(SMALL, full_network)]
    runs = [[once() for once in kinds] for _ in range(ROUNDS)]
    alone, *beside = (statistics.median(column) for column in zip(*runs, strict=True))
    for what, spent in zip(("fixed addresses of others", "a full network"), beside, strict=True):
        report.add(
            f"a pod comes and goes while {WAITING} wait for {what}, {SMALL}",
            f"{1e6 * spent:.0f} µs",
            f"none waits: {1e6 * alone:.0f} µs",
            times(spent / alone),
            "≤ 1.2×",
            spent / alone <= 1.2,
        )
    report.print()


if __name__ == "__main__":
    main()
