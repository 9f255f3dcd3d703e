"""Networks and their lookups: which group takes a node, and which leaf contains a prefix.

A `Topology` never changes. It is made from an operator's document (`document.py`), or, without one, from the
groups that were opened (`default.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from romana_bus.ipam.topology.pinned_limits import DEFAULT_LIMITS, PinnedLimits
from romana_bus.ipam.topology.tree import Group, Leaf, leaves

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from romana_bus.inet import Prefix


#: Sets of labels whose leaves a network remembers.
REMEMBERED = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """`tenants`: empty for a network of all tenants. `tree`: None where no map of the document names the
    network. `listed`: node -> the leaf that lists it by name. `keys`: the labels that leaves need. `numbers`:
    of its leaves. `limits`: those of fixed and sticky addresses."""

    name: str
    prefix: Prefix
    block_length: int
    tenants: tuple[str, ...] = ()
    tree: Group | None = None
    leaves: tuple[Leaf, ...] = ()
    listed: dict[str, Leaf] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    numbers: range = range(0)
    limits: PinnedLimits = DEFAULT_LIMITS
    _admitting: dict[tuple[str, ...], tuple[Leaf, ...]] = field(default_factory=dict)

    def eligible(self, labels: Mapping[str, str]) -> tuple[Leaf, ...]:
        """Returns the leaves that admit a node with these labels, in the order of the tree."""
        values = tuple(labels.get(key, "") for key in self.keys)
        if values not in self._admitting:
            if len(self._admitting) >= REMEMBERED:
                self._admitting.clear()  # of nodes that are gone, for the most part
            self._admitting[values] = tuple(leaf for leaf in self.leaves if leaf.admits(labels))
        return self._admitting[values]


class Topology:
    """`place`: network -> its place in `networks`. `everyones`: the places of the networks for all tenants.
    `particular`: there are networks for certain tenants."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self.networks = tuple(networks)
        self.place = {network.name: place for place, network in enumerate(self.networks)}
        self.leaves = tuple(leaf for network in self.networks for leaf in network.leaves)
        self._sorted = sorted(self.leaves, key=lambda leaf: (leaf.prefix.width, leaf.prefix.base))
        self._bases = [(leaf.prefix.width, leaf.prefix.base) for leaf in self._sorted]
        self.everyones = tuple(place for place, network in enumerate(self.networks) if not network.tenants)
        self.particular = len(self.everyones) < len(self.networks)
        named: dict[str, tuple[int, ...]] = {}
        for place, network in enumerate(self.networks):
            for tenant in dict.fromkeys(network.tenants):
                named[tenant] = (*named.get(tenant, ()), place)
        self._order = {tenant: places + self.everyones for tenant, places in named.items()}
        self._places = tuple(place for place, network in enumerate(self.networks) for _ in network.leaves)
        self._listed = {name for network in self.networks for name in network.listed}

    def order(self, tenant: str) -> tuple[int, ...]:
        """The places of the networks that a tenant may use. Those that name the tenant come first."""
        return self._order.get(tenant, self.everyones)

    def place_of(self, leaf: int) -> int:
        """The place of the network that the leaf of this number belongs to."""
        return self._places[leaf]

    def limits_of(self, leaf: int) -> PinnedLimits:
        """The limits of fixed and sticky addresses in the leaf of this number."""
        return self.networks[self._places[leaf]].limits

    def eligible(self, network: Network, node: str, labels: Mapping[str, str]) -> tuple[Leaf, ...]:
        """Returns the leaves of `network` that admit the node. A node that is listed by name belongs only
        where it is listed, with any labels."""
        if node in self._listed:
            return (network.listed[node],) if node in network.listed else ()
        return network.eligible(labels)

    def admits(self, network: Network, leaf: Leaf, node: str, labels: Mapping[str, str]) -> bool:
        """Whether the leaf is one of those that are eligible for the node."""
        if node in self._listed:
            return network.listed.get(node) is leaf
        return leaf.admits(labels)

    def leaf_of(self, prefix: Prefix) -> Leaf | None:
        """The leaf that contains all of `prefix`."""
        before = bisect_right(self._bases, (prefix.width, prefix.base)) - 1
        return self._sorted[before] if before >= 0 and self._sorted[before].prefix.contains(prefix) else None

    def overlapping(self, prefix: Prefix) -> list[Leaf]:
        """Returns the leaves that share addresses with `prefix`."""
        first = max(bisect_right(self._bases, (prefix.width, prefix.base)) - 1, 0)
        behind = bisect_right(self._bases, (prefix.width, prefix.end - 1))
        return [leaf for leaf in self._sorted[first:behind] if leaf.prefix.overlaps(prefix)]

    def network_of(self, prefix: Prefix) -> Network | None:
        """The network that contains all of `prefix`."""
        return next((network for network in self.networks if network.prefix.contains(prefix)), None)


def build_network(number: int, network: Network, tree: Group) -> Network:
    """Splits the network into the groups of its tree. Its leaves are numbered from `number` on. A host that
    is listed more than once belongs where it is listed first."""
    taken: set[str] = set()
    numbered = []
    for place, (group, needs) in enumerate(leaves(tree)):
        hosts = tuple(dict.fromkeys(host for host in group.hosts if host.name not in taken))
        taken.update(host.name for host in hosts)
        numbered.append(
            Leaf(
                number + place, network.name, group.path, group.prefix, network.block_length, needs,
                group.routing, hosts,
            )
        )  # fmt: skip
    return replace(
        network,
        tree=tree,
        leaves=tuple(numbered),
        listed={host.name: leaf for leaf in numbered for host in leaf.hosts},
        keys=tuple(sorted({key for leaf in numbered for key, _ in leaf.needs})),
        numbers=range(number, number + len(numbered)),
        _admitting={},
    )
