"""How the addresses stand, in Prometheus' terms: read off the decider's state when somebody asks, since
nothing that is counted at every event would be right after a rebuild.

romana_addresses{network,state}      used, cooling, reserved and free ones
romana_addresses_denied{code}        pods that want an address and have none, by the kind of reason
romana_blocks{network}               blocks that are somebody's
romana_nodes{placed}                 nodes of the API server with a place in the topology, and without
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from romana_bus.ipam import view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam import State
    from romana_bus.loop import Decider

STATES = ("used", "cooling", "reserved", "free")


@contextlib.contextmanager
def measured(decider: Decider[State]) -> Iterator[Decider[State]]:
    """The same decider, measured for as long as this is open. One in a process."""
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
    """`state`: the one that is worked on now."""

    def __init__(self, state: State) -> None:
        self.state = state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        addresses = GaugeMetricFamily("romana_addresses", "Addresses by state", labels=["network", "state"])
        blocks = GaugeMetricFamily("romana_blocks", "Blocks that are somebody's", labels=["network"])
        for network in view.networks(self.state):
            for name in STATES:
                addresses.add_metric([network.network, name], getattr(network.room, name))
            blocks.add_metric([network.network], network.room.blocks)
        yield addresses
        yield blocks
        yield _family("romana_addresses_denied", "Pods without an address", "code", self._denied())
        yield _family("romana_nodes", "Nodes by whether they have a place", "placed", self._nodes())

    def _denied(self) -> Counter[str]:
        hosts = self.state.hosts.values()
        return Counter(record.code for host in hosts for record in host.records.values() if record.code)

    def _nodes(self) -> Counter[str]:
        seen = [host for host in self.state.hosts.values() if host.seen]
        placed = sum(host.placed is not None for host in seen)
        return Counter({"true": placed, "false": len(seen) - placed})

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing is computed to be registered."""
        return iter(())


def _family(name: str, text: str, label: str, counts: Counter[str]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
