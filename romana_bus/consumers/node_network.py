"""NodeNetwork reports: what this node lives on, so that no pod network takes it away.

Made from what the routes reconciler has read from the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import NodeNetwork
from romana_bus.inet import format_address

if TYPE_CHECKING:
    from romana_bus.routing import Network

#: How many addresses, prefixes and gateways a report has at most, of each: a load balancer may have thousands
#: of addresses. The agent itself guards all of them.
MOST = 1000


def node_network(node: str, network: Network) -> NodeNetwork:
    """The report, with the first MOST of each."""

    def texts(addresses: frozenset[tuple[int, int]]) -> tuple[str, ...]:
        return tuple(format_address(*address) for address in sorted(addresses)[:MOST])

    return NodeNetwork(
        node=node,
        consumer="network",
        addresses=texts(network.addresses),
        connected=tuple(map(str, sorted(network.connected)[:MOST])),
        gateways=texts(network.gateways),
        reached=texts(network.reached),
    )
