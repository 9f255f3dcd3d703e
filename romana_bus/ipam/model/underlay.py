"""What nodes live on: their addresses, the prefixes of their links, their gateways, and where they reach the
log and the API server.

No pod is given such an address (`Excluded`). No node is placed in a network that overlaps what it lives on
(`overlap`), since the routes to pods would cut it off from its own network.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import V4, V6, Prefix, covering, format_address, parse_address
from romana_bus.ipam.model.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.events import NodeNetwork
    from romana_bus.ipam.topology.networks import Network, Topology
    from romana_bus.ipam.topology.tree import Leaf

#: What a prefix is to a node, as it is said.
CONNECTED, ADDRESS, GATEWAY = "a connected prefix of", "an address of", "a gateway of"
REACHED = "an address of the log or the API server for"

#: The entries of each list of a report that count. (With kube-proxy in IPVS mode, a node has an address for
#: each Service.)
MOST = 1_000


class Claim(NamedTuple):
    """A prefix that a node lives on; an address is a prefix of one. `kind`: what it is to the node."""

    kind: str
    prefix: Prefix

    @property
    def text(self) -> str:
        """The address or the prefix."""
        width, base, length = self.prefix
        return format_address(width, base) if length == width else str(self.prefix)

    def of(self, nodes: str) -> str:
        """What it is to whom, such as 'a gateway of node n1'."""
        return f"{self.kind} {nodes}"


def claims_of(report: NodeNetwork) -> tuple[Claim, ...]:
    """What a node's agent reports."""
    return (
        *_claims(CONNECTED, report.connected),
        *_claims(ADDRESS, report.addresses),
        *_claims(GATEWAY, report.gateways),
        *_claims(REACHED, report.reached),
    )


def addresses_among(shown: tuple[str, ...], underlay: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """The addresses that a node lives on. `shown`: its own, by the API server. `underlay`: what its agent
    reports."""
    claims = _claims(ADDRESS, shown)
    if underlay:
        claims += [claim for claim in underlay if claim.kind != CONNECTED]
    return tuple(claims)


def _claims(kind: str, texts: tuple[str, ...]) -> list[Claim]:
    return [claim for text in texts[:MOST] if (claim := _claim(kind, text)) is not None]


@lru_cache(maxsize=1 << 16)
def _claim(kind: str, text: str) -> Claim | None:
    """One object for all nodes of a link. None for what is not an address: nobody has checked what the API
    server shows."""
    try:
        if kind == CONNECTED:
            return Claim(kind, covering(text))
        width, value = parse_address(text)
    except ValueError:
        return None
    return Claim(kind, Prefix(width, value, width))


class Excluded(NamedTuple):
    """The addresses that no pod is given, in each family: `ranges`, by width. `nodes`: those that nodes live
    on, as (width, value) -> what it is to whom; only those inside groups."""

    ranges: dict[int, Ranges]
    nodes: dict[tuple[int, int], str]


def excluded(
    reserves: Iterable[Prefix], nodes: Iterable[tuple[str, Iterable[Claim]]], topology: Topology
) -> Excluded:
    """`reserves`: the ranges that operators reserved. `nodes`: the addresses that each node lives on, by the
    nodes' names."""
    ranges = {V4: Ranges(), V6: Ranges()}
    inside: dict[tuple[int, int], str] = {}
    for prefix in reserves:
        ranges[prefix.width].add(prefix.base, prefix.end)
    for name, claims in nodes:
        for claim in claims:
            width, base, _ = prefix = claim.prefix
            if topology.leaf_of(prefix) is not None:
                ranges[width].add(base, prefix.end)
                inside.setdefault((width, base), claim.of(f"node {name}"))
    return Excluded(ranges, inside)


class Overlap(NamedTuple):
    """A group of a network, and what a node lives on, which share addresses."""

    leaf: Leaf
    claim: Claim

    def of(self, node: str) -> str:
        leaf, claim = self
        return f"{leaf.prefix} of group {leaf.group} overlaps {claim.text}, {claim.of(f'node {node}')}"


def overlap(topology: Topology, network: Network, underlay: Iterable[Claim]) -> Overlap | None:
    """The first group of the network that overlaps what a node's agent reports."""
    for claim in underlay:
        for leaf in topology.overlapping(claim.prefix):
            if leaf.number in network.numbers:
                return Overlap(leaf, claim)
    return None
