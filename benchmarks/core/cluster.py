"""A cluster in the state of the core, with as many hosts and pods as asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks import sample
from romana_bus.events import PodSeen, ResourceSynced, TopologySet, codec
from romana_bus.events.base import SECOND
from romana_bus.ipam import Settings, State, Tick, decide, evolve

if TYPE_CHECKING:
    from romana_bus.events import PodGone
    from romana_bus.ipam.allocate.context import Decision

BATCH = 1_000


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


def seen_pod(number: int, size: Size) -> PodSeen:
    return decoded(sample.pod(number, 10**6 + number, number % size.hosts))


def decoded(pod: PodSeen) -> PodSeen:
    """As the log's decoder gives it: every string its own."""
    seen = codec.decode(codec.encode(pod))
    assert isinstance(seen, PodSeen)
    return seen


def full(size: Size) -> State:
    state = empty(size)
    for number in range(size.pods):
        evolve(state, seen_pod(number, size), number + 1)
        if number % BATCH == BATCH - 1:
            decide(state)
    decide(state)
    return state


def decisions_on(state: State, facts: list[PodSeen] | list[PodGone]) -> list[Decision]:
    for fact in facts:
        evolve(state, fact, 1)
    return decide(state)
