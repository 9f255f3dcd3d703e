"""A simulated cluster: Romana's operations become facts, and the decisions become their results.

Each operation takes a second. Results are the same as Romana's, except where Romana contradicts itself:
padding stays closed (Romana's defect B1), no address is lost (B2), a removed host frees its addresses and
names (B3, B4), hosts and reserved ranges stay when the topology changes (B5), groups keep their names (B6),
counts are right (B7), and a range with one address in use is in use (B16). A block that is reserved as a
whole has no owner; Romana gives it to an owner, which keeps it without using it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.events import (
    AddressAssigned,
    AddressDenied,
    HostDenied,
    RangeReserved,
    ResourceSynced,
    TopologySet,
)
from romana_bus.events.base import SECOND
from romana_bus.inet import covering
from romana_bus.ipam.allocate.decide import decide
from romana_bus.ipam.change.reserve import BadRange, reserve, unreserve
from romana_bus.ipam.fold.evolve import evolve
from romana_bus.ipam.model.state import NEEDED, State, Tick
from romana_bus.ipam.simulate import operations, result
from romana_bus.ipam.simulate.cluster import Allocation, Node, OpError, canonical, listings, unlisted
from romana_bus.ipam.simulate.migrate import Migration, migrate
from romana_bus.ipam.topology.document import BadTopology, parse

if TYPE_CHECKING:
    from romana_bus.events import Event, IpamEvent, Settings
    from romana_bus.inet import Prefix
    from romana_bus.ipam.topology.networks import Topology
    from romana_bus.ipam.topology.tree import Leaf

#: Released blocks come back in the order of their release, however long a simulation goes on.
FOR_EVER = 2**60

#: The core's kinds -> Romana's, which reports an unknown host and a full one alike.
KINDS = {
    "host_unknown": "exhausted",
    "host_denied": "exhausted",
    "whole_network": "blackout_whole_network",
    "in_use": "blackout_in_use",
    "not_reserved": "no_such_blackout",
}


class Simulation:
    """A cluster in memory. `nodes`: in the order in which they joined; the document's hosts are there from
    the start. `names`: address -> its name. Raises BadTopology."""

    def __init__(self, document: dict[str, Any], settings: Settings) -> None:
        self.settings = settings
        self.now = SECOND
        self.serial = 0
        self.nodes: dict[str, Node] = {}
        self.allocations: dict[str, Allocation] = {}
        self.names: dict[str, str] = {}
        self.ranges: list[Prefix] = []
        self.document: dict[str, Any] = {}
        self.state = State(self.settings, FOR_EVER)
        self._set(document, parse(document))

    def play(self, op: operations.AnyOp) -> str | list[str] | None:
        """Runs the operation, and returns its result. Raises OpError."""
        self.now += SECOND
        self._fold(Tick(self.now))
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
                for name in self._hosts_of(op):
                    self._remove_host(name)
            case operations.UpdateLabels():
                self._update_labels(self._hosts_of(op), op.tags or {})
            case operations.Blackout():
                self._blackout(_range(op.cidr))
            case operations.Unblackout():
                self._unblackout(_range(op.cidr))
            case operations.UpdateTopology():
                self._set(op.topology, parse(op.topology))
        return None

    def outcome(self) -> dict[str, Any]:
        """The state of the cluster, which is the last line of the output."""
        return {
            "tree": result.tree(self.state, self.document, self.nodes),
            "blocks": result.blocks(self.state),
            "addresses": {name: result.shown(held.addresses) for name, held in self.allocations.items()},
        }

    def _fold(self, *events: Event | Tick) -> list[IpamEvent]:
        """Folds the events, and returns the decisions that follow."""
        for event in events:
            evolve(self.state, event)
        return [decision.event for decision in decide(self.state)]

    # --- addresses ---

    def _allocate(self, op: operations.Allocate) -> tuple[str, ...]:
        """Allocates an address. If there is none, the operation fails: a name does not wait."""
        tenant = op.tenant or ""
        if op.name in self.allocations:
            has = ", ".join(self.allocations[op.name].addresses)
            raise OpError("exists", f"{op.name} has an address already: {has}")
        if not self.state.topology.order(tenant):
            raise OpError("no_network", f"no network is for tenant {tenant!r}, and none is for everyone")
        self.serial += 1
        wanted = Allocation(op.name, op.host, tenant, op.segment or "", self.serial)
        for event in self._fold(wanted.seen()):
            if isinstance(event, AddressAssigned) and event.uid == wanted.uid:
                return self._allocated(wanted, tuple(address.address for address in event.addresses))
            if isinstance(event, AddressDenied) and event.uid == wanted.uid:
                self._fold(wanted.gone())
                reason = event.reason if op.host in self.nodes else f"there is no host {op.host}"
                raise OpError(KINDS.get(event.code, event.code), reason)
        raise AssertionError("a pod that is new gets an address, or a reason")

    def _allocated(self, wanted: Allocation, addresses: tuple[str, ...]) -> tuple[str, ...]:
        self.allocations[wanted.name] = wanted._replace(addresses=addresses)
        self.names.update(dict.fromkeys(addresses, wanted.name))
        return addresses

    def _deallocate(self, name: str) -> None:
        """Frees the addresses of a name. The name can be one of these addresses."""
        name = name if name in self.allocations else self.names.get(canonical(name), "")
        if name not in self.allocations:
            raise OpError("not_found", "no such name, and no name has such an address")
        self._fold(self._remove(name).gone())

    def _remove(self, name: str) -> Allocation:
        allocation = self.allocations.pop(name)
        for address in allocation.addresses:
            del self.names[address]
        return allocation

    # --- hosts ---

    def _add_host(self, node: Node) -> None:
        if node.name in self.nodes:
            raise OpError("exists", f"there is a host {node.name} already")
        if node.ip and (others := self._with_ip(node.ip)):
            raise OpError("exists", f"host {others[0]} has the address {node.ip} already")
        denied = [event for event in self._fold(node.seen()) if isinstance(event, HostDenied)]
        if denied:
            self._fold(node.gone())
            raise OpError("no_group", denied[0].reason)
        self.nodes[node.name] = node

    def _with_ip(self, ip: str) -> list[str]:
        return [name for name, node in self.nodes.items() if node.ip == ip]

    def _hosts_of(self, op: operations.RemoveHost | operations.UpdateLabels) -> list[str]:
        """The hosts with this address, or else with this name. (A document can list two hosts with one
        address.)"""
        if op.ip is None:
            names = [name for name in self.nodes if name == op.name]
        else:
            names = self._with_ip(canonical(op.ip))
            if op.name and (others := [name for name in names if name != op.name]):
                raise OpError("mismatch", f"the host with address {op.ip} is {others[0]}, and not {op.name}")
        if not names:
            raise OpError("not_found", f"there is no host {op.name or op.ip}")
        return names

    def _remove_host(self, name: str) -> None:
        """Frees its addresses and names (Romana's B3, B4), and takes it out of the document if it is
        listed."""
        node = self.nodes.pop(name)
        pods = [held.name for held in self.allocations.values() if held.host == name]
        self._fold(node.gone(), *(self._remove(pod).gone() for pod in pods))
        if name not in listings(self.state.topology):
            return
        self.document = unlisted(self.document, name)
        self._fold(TopologySet(document=self.document))
        if name in listings(self.state.topology):
            self.nodes[name] = node
            self._fold(node.seen())

    def _update_labels(self, names: list[str], labels: dict[str, str]) -> None:
        """Romana reads labels when it places a host, and refuses labels that do not fit its group. So a
        host does not move, and joins no other network; its new labels count when the topology changes."""
        for name in names:
            if labels == self.nodes[name].labels:
                continue
            for leaf in self._leaves(name):
                if not leaf.admits(labels):
                    needs = ", ".join(f"{key}={value}" for key, value in leaf.needs)
                    raise OpError("ineligible", f"{name} is in group {leaf.group}, which needs {needs}")
        for name in names:
            self.nodes[name] = self.nodes[name]._replace(labels=labels)

    def _leaves(self, name: str) -> list[Leaf]:
        prefixes = {placement.prefix for placement in self.state.hosts[name].placements}
        return [leaf for leaf in self.state.topology.leaves if str(leaf.prefix) in prefixes]

    # --- reserved ranges ---

    def _blackout(self, prefix: Prefix) -> None:
        """Reserves a range. It replaces the first range inside it in the list; the others stay."""
        if not (events := reserve(self.state, str(prefix))):
            return
        inside = [other for other in self.ranges if prefix.contains(other)]
        if inside:
            self.ranges[self.ranges.index(inside[0])] = prefix
        else:
            self.ranges.append(prefix)
        kept = {str(other) for other in inside[1:]}
        self._fold(*(event for event in events if event.cidr not in kept))

    def _unblackout(self, prefix: Prefix) -> None:
        if prefix not in self.ranges and self.state.topology.network_of(prefix) is None:
            raise OpError("no_network", f"{prefix} is not inside one network")
        self._fold(*unreserve(self.state, str(prefix)))
        self.ranges.remove(prefix)

    # --- topology ---

    def _set(self, document: dict[str, Any], topology: Topology) -> None:
        """Sets the topology. Hosts that it lists are added, the others stay, and all keep their addresses
        (B5)."""
        nodes = dict(self.nodes)
        for listed in listings(topology).values():
            nodes.setdefault(listed.name, Node(listed.name, canonical(listed.ip), {}))
        migration = Migration(topology, self.settings.block_owner, nodes, self.allocations.values())
        old, self.state = self.state, State(self.settings, FOR_EVER)
        self.nodes, self.document = nodes, document
        synced = [ResourceSynced(resource=name, resource_version="", count=0) for name in NEEDED]
        reserved = [RangeReserved(cidr=str(prefix)) for prefix in self.ranges]
        evolve(self.state, Tick(self.now))
        for event in (*synced, TopologySet(document=document), *reserved):
            evolve(self.state, event)
        migrate(self.state, migration, old)


def _range(cidr: str) -> Prefix:
    """The range of a CIDR. As in Romana, a CIDR with host bits means the range around it."""
    try:
        return covering(cidr)
    except ValueError as error:
        raise OpError("bad_cidr", str(error)) from None
