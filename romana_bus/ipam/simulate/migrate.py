"""Moves a simulated cluster to a new topology: every name keeps its address.

As in Romana, a new state is built, and each address is requested again in its old place. The free blocks
before the last one in use count as released, in their order.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.events import (
    AddressAssigned,
    AddressReleased,
    BlockAssigned,
    BlockReleased,
    CoolingAddress,
    HostPlaced,
    Placement,
    PodAddress,
)
from romana_bus.inet import Prefix, parse_address
from romana_bus.ipam.allocate.decide import decide
from romana_bus.ipam.fold.evolve import evolve
from romana_bus.ipam.model.blocks import ALL
from romana_bus.ipam.simulate.cluster import OpError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from romana_bus.events import Event
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.simulate.cluster import Allocation, Node
    from romana_bus.ipam.topology.networks import Topology
    from romana_bus.ipam.topology.tree import Leaf

#: The most blocks that count as released.
MOST_RELEASED = 1 << 16
#: The node that released them: not the name of a host.
NOBODY = " "
#: How many addresses without a place a message names.
NAMED = 5


class Owned(NamedTuple):
    """A block: its group, and whom it belongs to."""

    leaf: Leaf
    host: str
    tenant: str
    segment: str


class Migration:
    """Where everything is in the new topology: `homes` (host -> network -> leaf), `blocks`, and the addresses
    of each name. Raises OpError, which names the addresses without a place."""

    def __init__(
        self,
        topology: Topology,
        block_owner: str,
        nodes: Mapping[str, Node],
        allocations: Iterable[Allocation],
    ) -> None:
        self.topology = topology
        self.block_owner = block_owner
        self.nodes = nodes
        self.homes: dict[str, dict[str, Leaf]] = {}
        self.blocks: dict[Prefix, Owned] = {}
        self.addresses: list[tuple[Allocation, tuple[PodAddress, ...]]] = []
        problems: list[tuple[str, str]] = []
        for allocation in allocations:
            kept = []
            for address in allocation.addresses:
                try:
                    kept.append(self._keep_address(allocation, address))
                except OpError as error:
                    text = f"{allocation.name} ({address} on {allocation.host}): {error}"
                    problems.append((error.kind, text))
            self.addresses.append((allocation, tuple(kept)))
        if problems:
            more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
            raise OpError(problems[0][0], "; ".join(text for _, text in problems[:NAMED]) + more)

    def _keep_address(self, allocation: Allocation, address: str) -> PodAddress:
        leaf = self._leaf(allocation, address)
        home = self.homes.setdefault(allocation.host, {}).setdefault(leaf.network, leaf)
        if home is not leaf:
            raise OpError("no_room", f"it is in group {leaf.group}, its host's others in group {home.group}")
        block = aligned(leaf, parse_address(address)[1])
        tenant = ALL if self.block_owner == "host" else allocation.tenant
        segment = allocation.segment if self.block_owner == "segment" else ALL
        owned = Owned(leaf, allocation.host, tenant, segment)
        if self.blocks.setdefault(block, owned) != owned:
            raise OpError("no_room", f"others have addresses in its block, {block}")
        return PodAddress(address=address, network=leaf.network, block=str(block))

    def _leaf(self, allocation: Allocation, address: str) -> Leaf:
        width, value = parse_address(address)
        prefix = Prefix(width, value, width)
        network = self.topology.network_of(prefix)
        if network is None or self.topology.place[network.name] not in self.topology.order(allocation.tenant):
            raise OpError("no_network", f"no network for tenant {allocation.tenant!r} has this address")
        leaf = self.topology.leaf_of(prefix)
        if leaf is None:
            raise OpError("no_room", f"it is in no group of network {network.name}")
        if not self.topology.admits(network, leaf, allocation.host, self.nodes[allocation.host].labels):
            raise OpError("no_room", f"it is in group {leaf.group}, which does not take its host")
        return leaf


def aligned(leaf: Leaf, value: int) -> Prefix:
    """The block of `leaf` that contains the address."""
    size = 1 << (leaf.prefix.width - leaf.block_length)
    return Prefix(leaf.prefix.width, value & -size, leaf.block_length)


def migrate(state: State, migration: Migration, old: State) -> None:
    """Fills `state`, which has the new topology and no hosts, from the state `old`. Hosts with addresses are
    placed where these are, then the others, one by one."""
    cooling = _cooling(old, migration.topology)
    homes = migration.homes
    for event in chain(
        (node.seen() for node in migration.nodes.values() if node.name in homes),
        (_placed(migration.nodes[name], leaves.values()) for name, leaves in homes.items()),
        _blocks(migration.blocks, state.now),
        _addresses(migration, cooling),
    ):
        evolve(state, event)
    decide(state)
    for node in migration.nodes.values():
        if node.name not in homes:
            evolve(state, node.seen())
            decide(state)


def _placed(node: Node, leaves: Iterable[Leaf]) -> Event:
    placements = tuple(
        Placement(network=leaf.network, group=leaf.group, prefix=str(leaf.prefix)) for leaf in leaves
    )
    return HostPlaced(
        node=node.name, uid=node.name, addresses=node.seen().addresses, placements=placements
    )  # fmt: skip


def _blocks(blocks: Mapping[Prefix, Owned], now: int) -> Iterator[Event]:
    for block, (leaf, host, tenant, segment) in blocks.items():
        yield BlockAssigned(
            network=leaf.network, block=str(block), node=host, tenant=tenant, segment=segment, since=now
        )
    last = {owned.leaf.number: (owned.leaf, block) for block, owned in sorted(blocks.items(), key=_base)}
    for leaf, block in islice(_before(last.values(), blocks), MOST_RELEASED):
        yield BlockReleased(network=leaf.network, block=str(block), node=NOBODY, at=now, until=now)


def _base(item: tuple[Prefix, Owned]) -> int:
    return item[0].base


def _before(
    last: Iterable[tuple[Leaf, Prefix]], blocks: Mapping[Prefix, Owned]
) -> Iterator[tuple[Leaf, Prefix]]:
    for leaf, block in last:
        for base in range(leaf.prefix.base, block.base, block.size):
            if (other := block._replace(base=base)) not in blocks:
                yield leaf, other


def _addresses(
    migration: Migration, cooling: dict[tuple[str, str, str], tuple[CoolingAddress, ...]]
) -> Iterator[Event]:
    for allocation, addresses in migration.addresses:
        yield allocation.seen()
        yield AddressAssigned(
            namespace=allocation.tenant, name=allocation.name, uid=allocation.uid, node=allocation.host,
            tenant=allocation.tenant, segment=allocation.segment, addresses=addresses,
            cooling=cooling.pop((allocation.host, allocation.tenant, allocation.name), ()),
        )  # fmt: skip
    for (node, namespace, name), left in cooling.items():
        yield AddressReleased(namespace=namespace, name=name, uid="", node=node, cooling=left)


def _cooling(old: State, topology: Topology) -> dict[tuple[str, str, str], tuple[CoolingAddress, ...]]:
    """(host, tenant, name) -> its addresses that still cool down."""
    cooling_of: dict[tuple[str, str, str], tuple[CoolingAddress, ...]] = {}
    for host in old.hosts.values():
        for record in host.records.values():
            left = []
            for cooling in record.cooling:
                width, value = cooling.numeric
                if leaf := topology.leaf_of(Prefix(width, value, width)):
                    block = str(aligned(leaf, value))
                    left.append(CoolingAddress(address=cooling.address, block=block, until=cooling.until))
            if left:
                tenant, _, name = record.key.partition("/")
                cooling_of[host.name, tenant, name] = tuple(left)
    return cooling_of
