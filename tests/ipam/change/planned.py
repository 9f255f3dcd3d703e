"""Clusters with a group for each zone, and what a change of their topology would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus import events as ev
from romana_bus.ipam import State, parse
from romana_bus.ipam.change import evictions as pods_that_lose
from romana_bus.ipam.change import plan as plans
from romana_bus.ipam.change.merge import merge
from tests.ipam.cluster import Cluster, topology
from tests.ipam.invariants import blocks_do_not_overlap, no_address_has_two_owners

if TYPE_CHECKING:
    from romana_bus.ipam.change.evictions import PodChange
    from romana_bus.ipam.change.plan import Changes

ZONE = "topology.kubernetes.io/zone"


def zones(*names: str, cidr: str = "10.0.0.0/24", mask: int = 30) -> dict[str, Any]:
    """`name=zone`, or one name for both."""
    pairs = [name.partition("=") for name in names]
    entries = ({"name": name, "assignment": {ZONE: zone or name}} for name, _, zone in pairs)
    return topology(cidr, mask, *entries)


def cluster(document: dict[str, Any] | None, *names: str, pods: int = 1, **settings: Any) -> Cluster:
    """A node in each zone, with pods on it."""
    c = Cluster(document, **settings)
    for name in names:
        c.node(f"n-{name}", {ZONE: name})
        c.decide()
        for at in range(pods):
            c.pod(f"web/{name}{at}", f"n-{name}")
    c.decide()
    return c


def changes(state: State, document: dict[str, Any]) -> Changes:
    return plans.changes(state, document, parse(document))


def losing(state: State, document: dict[str, Any]) -> tuple[PodChange, ...]:
    return pods_that_lose.losing(state, parse(document))


def plan(c: Cluster, document: dict[str, Any]) -> Changes:
    return changes(c.state, merge(c.state.topology, document))


def apply(c: Cluster, document: dict[str, Any]) -> None:
    c.send(ev.TopologySet(document=merge(c.state.topology, document)))
    c.decide()
    blocks_do_not_overlap(c)
    no_address_has_two_owners(c)


def groups(found: Changes) -> list[tuple[str, str, str, str]]:
    return [(one.group, one.kind, one.was_prefix, one.prefix) for one in found.groups]


def hosts(found: Changes) -> dict[str, str]:
    return {one.node: one.kind for one in found.hosts}


def pods(found: tuple[Any, ...]) -> list[str]:
    return [one.pod for one in found]
