"""Findings about what nodes live on: addresses of pods that are a node's too, and networks that overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.ipam.audit.finding import Finding, records
from romana_bus.ipam.model.underlay import overlap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam.model.state import State


def lived_on(state: State) -> Iterator[Finding]:
    """Yields the pods that have an address of a node, and the nodes that stay in a network that overlaps what
    they live on. No decision takes a running pod's address for that: a person has to."""
    hosts = [host for _, host in sorted(state.hosts.items())]
    nodes: dict[tuple[int, int], str] = {}
    for host in hosts:
        for claim in host.claimed:
            nodes.setdefault((claim.prefix.width, claim.prefix.base), claim.of(f"node {host.name}"))
    for host, record in records(state):
        for held in record.held:
            if whose := nodes.get(held.numeric):
                text = f"{held.address} of {record.key} on {host.name} is {whose}"
                yield Finding(
                    kind="node", node=host.name, pod=record.key, uid=record.uid, address=held.address,
                    text=text,
                )  # fmt: skip
    for host in hosts:
        placed = {placement.network for placement in host.placements}
        for network in state.topology.networks if host.seen else ():
            if network.name in placed and (found := overlap(state.topology, network, host.underlay)):
                text = f"node {host.name} is in network {network.name}, and {found.of(host.name)}"
                yield Finding(kind="underlay", node=host.name, text=text)
