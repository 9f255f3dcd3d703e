"""Clusters of one node and of two, and the event of a pod's address."""

from __future__ import annotations

from typing import Any

from romana_bus import events as ev
from tests.ipam.cluster import Cluster, topology


def two_nodes(**settings: Any) -> Cluster:
    c = Cluster(topology("10.0.0.0/26", 29), **{"warm_blocks": 0, **settings})
    c.node("n1")
    c.node("n2")
    c.decide()
    return c


def one_node(*, pods: tuple[str, ...] = ("web/a",), **settings: Any) -> Cluster:
    """One node with pods, and everything decided."""
    c = Cluster(topology("10.0.0.0/28", 30), **settings)
    c.node("n1")
    for key in pods:
        c.pod(key, "n1")
    c.decide()
    return c


def address_event(c: Cluster, key: str, node: str = "n1") -> ev.AddressEvent:
    event = c.table[f"ipam.address.{node}.{key.replace('/', '.')}"].event
    assert isinstance(event, ev.AddressEvent)
    return event
