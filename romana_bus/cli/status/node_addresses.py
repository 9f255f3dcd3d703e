"""Nodes whose own addresses are missing, or are those of other nodes too: then other nodes have no route to
their pods, or it leads to another machine. Pure."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from romana_bus.inet import V4, V6, format_address, parse_address, parse_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.events import HostPlaced

#: How many other nodes with the same address are named.
NAMED = 3
_FAMILIES = {V4: "IPv4", V6: "IPv6"}


def address_trouble(hosts: Iterable[HostPlaced]) -> dict[str, list[str]]:
    """Node -> what is wrong with its addresses, for all nodes where something is."""
    every = sorted(hosts, key=lambda host: host.node)
    nodes_of: dict[tuple[int, int], list[str]] = {}
    for host in every:
        for address in _addresses(host):
            nodes_of.setdefault(address, []).append(host.node)
    trouble = {host.node: [*_missing(host), *_shared(host, nodes_of)] for host in every}
    return {node: texts for node, texts in trouble.items() if texts}


def _missing(host: HostPlaced) -> Iterator[str]:
    has = {width for width, _ in _addresses(host)}
    needed = {parse_prefix(placement.prefix).width for placement in host.placements}
    if needed and not has:
        yield "no InternalIP: other nodes have no route to its pods; set kubelet --node-ip"
        return
    for family in (_FAMILIES[width] for width in sorted(needed - has)):
        yield (
            f"no InternalIP of {family}: other nodes have no route to the {family} addresses of its pods; "
            "set kubelet --node-ip to both addresses of the node"
        )


def _shared(host: HostPlaced, nodes_of: dict[tuple[int, int], list[str]]) -> Iterator[str]:
    """Each of the nodes keeps the routes to its blocks, and all of these lead to the one address: of the
    machines that have it, the one that answers gets the packets for the pods of all."""
    for address in _addresses(host):
        if others := [node for node in nodes_of[address] if node != host.node]:
            named = ", ".join(others[:NAMED]) + (", ..." if len(others) > NAMED else "")
            have = "has" if len(others) == 1 else "have"
            yield (
                f"{named} {have} the address of {host.node} ({format_address(*address)}): packets to the pods"
                f" of {'both' if len(others) == 1 else 'all'} go to the machine that answers there; "
                "set kubelet --node-ip to an address that no other node has"
            )


def _addresses(host: HostPlaced) -> list[tuple[int, int]]:
    """Its addresses, each once. A kubelet may report texts that are not addresses."""
    addresses = dict[tuple[int, int], None]()
    for text in host.addresses:
        with contextlib.suppress(ValueError):
            addresses[parse_address(text)] = None
    return list(addresses)
