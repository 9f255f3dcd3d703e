"""Prometheus metrics of IPAM, computed from the decider's state at each scrape.

Counters that follow events would be wrong after the state is rebuilt.

romana_addresses{network,state}      addresses that are used, cooling, reserved and free
romana_addresses_denied{code,scope}  pods that need an address and have none, by code and, for `exhausted`,
                                     by what is full: block, group or network
romana_blocks{network}               blocks that belong to nodes
romana_nodes{placed}                 nodes of the API server, by whether they have a place in the topology
romana_exhausted{network,group,scope}
                                     1 while a network or a group has no free address, else 0; scope block:
                                     nodes whose blocks are full, in a group that has no whole block left
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from romana_bus.ipam.model.usage import BLOCK, GROUP, NETWORK, usage_index
from romana_bus.ipam.report import views
from romana_bus.ipam.report.exhaustion import EXHAUSTED, Exhaustion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam import State
    from romana_bus.runtime.consumer import Decider

STATES = ("used", "cooling", "reserved", "free")


@contextlib.contextmanager
def measured(decider: Decider[State]) -> Iterator[Decider[State]]:
    """Yields the decider, and exports metrics of its state while the context is open. Once in a process."""
    collector = _Addresses(decider.initial())

    def initial() -> State:
        collector.state = decider.initial()
        return collector.state

    REGISTRY.register(collector)
    try:
        yield dataclasses.replace(decider, initial=initial)
    finally:
        REGISTRY.unregister(collector)


class _Addresses(Collector):
    """`state`: the state that the decider works on now."""

    def __init__(self, state: State) -> None:
        self.state = state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        index = usage_index(self.state)
        exhaustion = Exhaustion(self.state, index)
        addresses = GaugeMetricFamily("romana_addresses", "Addresses by state", labels=["network", "state"])
        blocks = GaugeMetricFamily("romana_blocks", "Blocks that belong to nodes", labels=["network"])
        for network in views.networks(self.state, index):
            for name in STATES:
                addresses.add_metric([network.network, name], getattr(network.usage, name))
            blocks.add_metric([network.network], network.usage.blocks)
        yield addresses
        yield blocks
        yield _exhausted(self.state, exhaustion)
        yield _family(
            "romana_addresses_denied", "Pods without an address", ("code", "scope"), self._denied(exhaustion)
        )
        yield _family("romana_nodes", "Nodes by whether they have a place", ("placed",), self._nodes())

    def _denied(self, exhaustion: Exhaustion) -> Counter[tuple[str, ...]]:
        return Counter(
            (record.code, exhaustion.scope(host, record) if record.code == EXHAUSTED else "")
            for host in self.state.hosts.values()
            for record in host.records.values()
            if record.code
        )

    def _nodes(self) -> Counter[tuple[str, ...]]:
        seen = [host for host in self.state.hosts.values() if host.seen]
        placed = sum(host.placed is not None for host in seen)
        return Counter({("true",): placed, ("false",): len(seen) - placed})

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: with the default, registering would already compute the metrics."""
        return iter(())


def _exhausted(state: State, exhaustion: Exhaustion) -> GaugeMetricFamily:
    """Networks and groups that are not full have the value 0, since an absent series raises no alarm."""
    family = GaugeMetricFamily(
        "romana_exhausted",
        "1 while a network or group has no free address; scope block: nodes whose blocks are full",
        labels=["network", "group", "scope"],
    )
    for network in state.topology.networks:
        family.add_metric([network.name, "", NETWORK], exhaustion.is_full(network.name))
    for group in exhaustion.groups:
        where = [group.leaf.network, group.leaf.group]
        family.add_metric([*where, GROUP], group.full)
        family.add_metric([*where, BLOCK], 0 if group.full else len(group.stuck))
    return family


def _family(
    name: str, text: str, labels: tuple[str, ...], counts: Counter[tuple[str, ...]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(values, count)
    return family
