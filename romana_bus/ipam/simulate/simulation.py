"""A cluster that exists only here: operations in Romana's words go in as facts, and what the core decides
comes back as their results. Each operation takes a second.

Where Romana is consistent in itself, results are Romana's. Where it is not they are ours: padding stays
closed (Romana's B1), no address is lost (B2), a removed host takes its addresses and names with it (B3,
B4), hosts and reserved ranges outlive a new topology (B5), groups keep their names (B6), counts are right
(B7), and a range with one address in use is in use (B16). And a block that is reserved as a whole stays
nobody's: Romana gives it to the owner that comes across it, who keeps it, empty, for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from romana_bus.events import (
    AddressAssigned,
    AddressDenied,
    HostDenied,
    RangeReserved,
    ResourceSynced,
    TopologySet,
)
from romana_bus.inet import covering
from romana_bus.ipam.allocate.decide import decide
from romana_bus.ipam.change.reserve import BadRange, reserve, unreserve
from romana_bus.ipam.fold.evolve import evolve
from romana_bus.ipam.model.state import NEEDED, SECOND, State, Tick
from romana_bus.ipam.simulate import operations, result
from romana_bus.ipam.simulate.cluster import Given, Node, OpError, canonical
from romana_bus.ipam.simulate.listing import listings, unlisted
from romana_bus.ipam.simulate.migrate import Seating, settle
from romana_bus.ipam.topology.document import BadTopology, parse

if TYPE_CHECKING:
    from romana_bus.events import Event, IpamEvent
    from romana_bus.inet import Prefix
    from romana_bus.ipam.model.state import Settings
    from romana_bus.ipam.topology.networks import Topology
    from romana_bus.ipam.topology.tree import Leaf

#: Released blocks come back in the order of their release, however long a simulation goes on.
FOR_EVER = 2**60

#: The core's kinds -> Romana's, which does not tell a host that it does not know from a full one.
KINDS = {
    "host_unknown": "exhausted",
    "host_denied": "exhausted",
    "whole_network": "blackout_whole_network",
    "in_use": "blackout_in_use",
    "not_reserved": "no_such_blackout",
}


class Simulation:
    """`nodes`: in the order in which they joined; those that the document lists are there from the start.
    Raises BadTopology."""

    def __init__(self, document: dict[str, Any], settings: Settings) -> None:
        self.settings = replace(settings, order_memory=FOR_EVER)
        self.now = SECOND
        self.serial = 0
        self.nodes: dict[str, Node] = {}
        self.given: dict[str, Given] = {}
        self.names: dict[str, str] = {}
        self.ranges: list[Prefix] = []
        self.document: dict[str, Any] = {}
        self.state = State(self.settings)
        self._set(document, parse(document))

    def play(self, op: operations.AnyOp) -> str | list[str] | None:
        """What came of it. Raises OpError."""
        self.now += SECOND
        self._tell(Tick(self.now))
        try:
            return self._play(op)
        except BadRange as error:
            raise OpError(KINDS.get(error.kind, error.kind), str(error)) from None
        except BadTopology as error:
            raise OpError(error.problems[0].kind, "; ".join(error.reasons)) from None

    def _play(self, op: operations.AnyOp) -> str | list[str] | None:
        match op:
            case operations.Allocate():
                return result.shown(self._allocate(op))
            case operations.Deallocate():
                self._deallocate(op.name)
            case operations.AddHost():
                self._add_host(Node(op.name, canonical(op.ip or ""), op.tags or {}))
            case operations.RemoveHost():
                for name in self._found(op):
                    self._remove_host(name)
            case operations.UpdateLabels():
                self._update_labels(self._found(op), op.tags or {})
            case operations.Blackout():
                self._blackout(_range(op.cidr))
            case operations.Unblackout():
                self._unblackout(_range(op.cidr))
            case operations.UpdateTopology():
                self._set(op.topology, parse(op.topology))
        return None

    def outcome(self) -> dict[str, Any]:
        """The last line of all."""
        return {
            "tree": result.tree(self.state, self.document, self.nodes),
            "blocks": result.blocks(self.state),
            "addresses": {name: result.shown(one.addresses) for name, one in self.given.items()},
        }

    def _tell(self, *events: Event | Tick) -> list[IpamEvent]:
        """What is decided upon these."""
        for event in events:
            evolve(self.state, event)
        return [decision.event for decision in decide(self.state)]

    # --- addresses ---

    def _allocate(self, op: operations.Allocate) -> tuple[str, ...]:
        """What finds no address does not wait for one."""
        tenant = op.tenant or ""
        if op.name in self.given:
            has = ", ".join(self.given[op.name].addresses)
            raise OpError("exists", f"{op.name} has an address already: {has}")
        if not self.state.topology.order(tenant):
            raise OpError("no_network", f"no network is for tenant {tenant!r}, and none is for everyone")
        self.serial += 1
        asked = Given(op.name, op.host, tenant, op.segment or "", self.serial)
        for event in self._tell(asked.seen()):
            if isinstance(event, AddressAssigned) and event.uid == asked.uid:
                return self._given(asked, tuple(address.address for address in event.addresses))
            if isinstance(event, AddressDenied) and event.uid == asked.uid:
                self._tell(asked.gone())
                reason = event.reason if op.host in self.nodes else f"there is no host {op.host}"
                raise OpError(KINDS.get(event.code, event.code), reason)
        raise AssertionError("a pod that is new gets an address, or a reason")

    def _given(self, asked: Given, addresses: tuple[str, ...]) -> tuple[str, ...]:
        self.given[asked.name] = asked._replace(addresses=addresses)
        self.names.update(dict.fromkeys(addresses, asked.name))
        return addresses

    def _deallocate(self, name: str) -> None:
        """By name, else by address."""
        name = name if name in self.given else self.names.get(canonical(name), "")
        if name not in self.given:
            raise OpError("not_found", "there is no such name, and nobody has such an address")
        self._tell(self._taken(name).gone())

    def _taken(self, name: str) -> Given:
        one = self.given.pop(name)
        for address in one.addresses:
            del self.names[address]
        return one

    # --- hosts ---

    def _add_host(self, node: Node) -> None:
        if node.name in self.nodes:
            raise OpError("exists", f"there is a host {node.name} already")
        if node.ip and (others := self._with_ip(node.ip)):
            raise OpError("exists", f"host {others[0]} has the address {node.ip} already")
        denied = [event for event in self._tell(node.seen()) if isinstance(event, HostDenied)]
        if denied:
            self._tell(node.gone())
            raise OpError("no_group", denied[0].reason)
        self.nodes[node.name] = node

    def _with_ip(self, ip: str) -> list[str]:
        return [name for name, node in self.nodes.items() if node.ip == ip]

    def _found(self, op: operations.RemoveHost | operations.UpdateLabels) -> list[str]:
        """The host by its address, if that is given. (Two may have one where a document lists them so.)"""
        if op.ip is None:
            found = [name for name in self.nodes if name == op.name]
        else:
            found = self._with_ip(canonical(op.ip))
            if op.name and (others := [name for name in found if name != op.name]):
                raise OpError("mismatch", f"the host with address {op.ip} is {others[0]}, and not {op.name}")
        if not found:
            raise OpError("not_found", f"there is no host {op.name or op.ip}")
        return found

    def _remove_host(self, name: str) -> None:
        """What it had is free, and its names may be given again (Romana's B3, B4). A document that lists
        it lists it no more."""
        node = self.nodes.pop(name)
        pods = [one.name for one in self.given.values() if one.host == name]
        self._tell(node.gone(), *(self._taken(pod).gone() for pod in pods))
        if name not in listings(self.state.topology):
            return
        self.document = unlisted(self.document, name)
        self._tell(TopologySet(document=self.document))
        if name in listings(self.state.topology):
            self.nodes[name] = node
            self._tell(node.seen())

    def _update_labels(self, names: list[str], labels: dict[str, str]) -> None:
        """Romana looks at labels where it places a host, and refuses those that do not go with its place.
        So a host does not move, nor joins one network more; they count when the topology changes."""
        for name in names:
            if labels == self.nodes[name].labels:
                continue
            for leaf in self._leaves(name):
                if not leaf.admits(labels):
                    needs = ", ".join(f"{key}={value}" for key, value in leaf.needs)
                    raise OpError("ineligible", f"{name} is in group {leaf.group}, which wants {needs}")
        for name in names:
            self.nodes[name] = self.nodes[name]._replace(labels=labels)

    def _leaves(self, name: str) -> list[Leaf]:
        placed = self.state.hosts[name].placed
        here = {placement.prefix for placement in placed.placements} if placed else set()
        return [leaf for leaf in self.state.topology.leaves if str(leaf.prefix) in here]

    # --- reserved ranges ---

    def _blackout(self, prefix: Prefix) -> None:
        """A larger range replaces the first one inside it; others inside it stay what they are."""
        if not (wish := reserve(self.state, str(prefix))):
            return
        inside = [other for other in self.ranges if prefix.contains(other)]
        if inside:
            self.ranges[self.ranges.index(inside[0])] = prefix
        else:
            self.ranges.append(prefix)
        kept = {str(other) for other in inside[1:]}
        self._tell(*(event for event in wish if event.cidr not in kept))

    def _unblackout(self, prefix: Prefix) -> None:
        if prefix not in self.ranges and self.state.topology.network_of(prefix) is None:
            raise OpError("no_network", f"{prefix} is not inside one network")
        self._tell(*unreserve(self.state, str(prefix)))
        self.ranges.remove(prefix)

    # --- topology ---

    def _set(self, document: dict[str, Any], topology: Topology) -> None:
        """Hosts that the document lists exist. All others stay, and everybody keeps their address (B5)."""
        nodes = dict(self.nodes)
        for listed in listings(topology).values():
            nodes.setdefault(listed.name, Node(listed.name, canonical(listed.ip), {}))
        seating = Seating(topology, self.settings.block_owner, nodes, self.given.values())
        old, self.state = self.state, State(self.settings)
        self.nodes, self.document = nodes, document
        synced = [ResourceSynced(resource=name, resource_version="", count=0) for name in NEEDED]
        reserved = [RangeReserved(cidr=str(prefix)) for prefix in self.ranges]
        evolve(self.state, Tick(self.now))
        for event in (*synced, TopologySet(document=document), *reserved):
            evolve(self.state, event)
        settle(self.state, seating, old)


def _range(cidr: str) -> Prefix:
    """Romana took what has host bits for the range around it."""
    try:
        return covering(cidr)
    except ValueError as error:
        raise OpError("bad_cidr", str(error)) from None
