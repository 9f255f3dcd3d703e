"""A simulated cluster under a new topology: the state that it comes to when everybody keeps their address.

As Romana did it: everything is built anew, and each address is asked for again where it was. The blocks
that lie before the last one with an address in it count as given back, in their order.
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
    from romana_bus.ipam.simulate.cluster import Given, Node
    from romana_bus.ipam.topology.networks import Topology
    from romana_bus.ipam.topology.tree import Leaf

#: How many blocks at most count as given back. Nobody reads a longer list of them.
GIVEN_BACK = 1 << 16
#: Who gave them back: no host's name.
NOBODY = " "
#: How many addresses without a place a message names.
NAMED = 5


class Owned(NamedTuple):
    leaf: Leaf
    host: str
    tenant: str
    segment: str


class Seating:
    """Who is where in the new topology: `homes` (host -> network -> leaf), `blocks`, and each name's
    addresses. Raises OpError, which names the addresses that have no place."""

    def __init__(
        self, topology: Topology, block_owner: str, nodes: Mapping[str, Node], given: Iterable[Given]
    ) -> None:
        self.topology = topology
        self.block_owner = block_owner
        self.nodes = nodes
        self.homes: dict[str, dict[str, Leaf]] = {}
        self.blocks: dict[Prefix, Owned] = {}
        self.addresses: list[tuple[Given, tuple[PodAddress, ...]]] = []
        problems: list[tuple[str, str]] = []
        for one in given:
            found = []
            for address in one.addresses:
                try:
                    found.append(self._seat(one, address))
                except OpError as error:
                    problems.append((error.kind, f"{one.name} ({address} on {one.host}): {error}"))
            self.addresses.append((one, tuple(found)))
        if problems:
            more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
            raise OpError(problems[0][0], "; ".join(text for _, text in problems[:NAMED]) + more)

    def _seat(self, one: Given, address: str) -> PodAddress:
        leaf = self._leaf(one, address)
        home = self.homes.setdefault(one.host, {}).setdefault(leaf.network, leaf)
        if home is not leaf:
            raise OpError("no_room", f"it is in group {leaf.group}, its host's others in group {home.group}")
        block = aligned(leaf, parse_address(address)[1])
        tenant = ALL if self.block_owner == "host" else one.tenant
        segment = one.segment if self.block_owner == "segment" else ALL
        owned = Owned(leaf, one.host, tenant, segment)
        if self.blocks.setdefault(block, owned) != owned:
            raise OpError("no_room", f"others have addresses in its block, {block}")
        return PodAddress(address=address, network=leaf.network, block=str(block))

    def _leaf(self, one: Given, address: str) -> Leaf:
        width, value = parse_address(address)
        here = Prefix(width, value, width)
        network = self.topology.network_of(here)
        if network is None or self.topology.place[network.name] not in self.topology.order(one.tenant):
            raise OpError("no_network", f"no network for tenant {one.tenant!r} has this address")
        leaf = self.topology.leaf_of(here)
        if leaf is None:
            raise OpError("no_room", f"it is in no group of network {network.name}")
        if not self.topology.admits(network, leaf, one.host, self.nodes[one.host].labels):
            raise OpError("no_room", f"it is in group {leaf.group}, which does not take its host")
        return leaf


def aligned(leaf: Leaf, value: int) -> Prefix:
    """The block of `leaf` that has the address."""
    size = 1 << (leaf.prefix.width - leaf.block_length)
    return Prefix(leaf.prefix.width, value & -size, leaf.block_length)


def settle(state: State, seating: Seating, old: State) -> None:
    """Into `state`, which has the new topology and no host yet, and has decided nothing. Those that have
    addresses are where these are; then come the others, each in its turn."""
    cooling = _cooling(old, seating.topology)
    homes = seating.homes
    for event in chain(
        (node.seen() for node in seating.nodes.values() if node.name in homes),
        (_placed(seating.nodes[name], leaves.values()) for name, leaves in homes.items()),
        _blocks(seating.blocks, state.now),
        _addresses(seating, cooling),
    ):
        evolve(state, event)
    decide(state)
    for node in seating.nodes.values():
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
    for leaf, block in islice(_before(last.values(), blocks), GIVEN_BACK):
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
    seating: Seating, cooling: dict[tuple[str, str, str], tuple[CoolingAddress, ...]]
) -> Iterator[Event]:
    for one, addresses in seating.addresses:
        yield one.seen()
        yield AddressAssigned(
            namespace=one.tenant, name=one.name, uid=one.uid, node=one.host, tenant=one.tenant,
            segment=one.segment, addresses=addresses,
            cooling=cooling.pop((one.host, one.tenant, one.name), ()),
        )  # fmt: skip
    for (node, namespace, name), left in cooling.items():
        yield AddressReleased(namespace=namespace, name=name, uid="", node=node, cooling=left)


def _cooling(old: State, topology: Topology) -> dict[tuple[str, str, str], tuple[CoolingAddress, ...]]:
    """(host, tenant, name) -> the addresses that it gave back a moment ago."""
    found: dict[tuple[str, str, str], tuple[CoolingAddress, ...]] = {}
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
                found[host.name, tenant, name] = tuple(left)
    return found
