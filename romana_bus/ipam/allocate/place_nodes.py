"""Places nodes in groups, and releases their blocks when they move or are gone."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from romana_bus.events import (
    BlockReleased,
    GroupOpened,
    HostDenied,
    HostPlaced,
    HostRemoved,
    Placement,
)
from romana_bus.inet import V6
from romana_bus.ipam.model.sandboxes import claimant
from romana_bus.ipam.model.underlay import overlap
from romana_bus.ipam.topology import default

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from romana_bus.inet import Prefix
    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.state import Entry, State
    from romana_bus.ipam.topology.networks import Network
    from romana_bus.ipam.topology.tree import Leaf

_oldest = attrgetter("order")

#: How many of the labels that a network's groups need a denial names.
NAMED = 6


class ReportedAddresses:
    """The addresses reported by pods that have none from IPAM, by node.

    After the store was lost, they show where the nodes were: a node is placed in the group of its pods'
    addresses. Computed only when a node has to be placed."""

    def __init__(self, context: Context, records: Iterable[Entry]) -> None:
        self.state = context.state
        self.denied = context.index.waiting.denied
        self.records = records
        self._fresh: dict[str, set[str]] | None = None
        self._of: dict[str, list[tuple[int, int]]] = {}

    def inside(self, node: str, prefix: Prefix) -> int:
        """How many addresses that the node's pods report are in `prefix`."""
        if node not in self._of:
            pods = (claimant(self.state, node, key) for key in self._without(node))
            self._of[node] = [address for pod in pods if pod for address in pod.reported]
        return sum(prefix.includes(width, value) for width, value in self._of[node])

    def _without(self, node: str) -> set[str]:
        """The pods on the node that are new, or wait for an address."""
        if self._fresh is None:
            self._fresh = {}
            for name, key in self.records:
                self._fresh.setdefault(name, set()).add(key)
        return self._fresh.get(node, set()) | self.denied.get(node, set())


def open_groups(context: Context) -> None:
    """Opens a slot of the default network for each zone that has none. Without a topology document only.

    A node often gets its zone label only some seconds after it joins. So where zones are in use, nodes
    without the label get a group of their own only when a pod on them needs an address.
    """
    state, dirty = context.state, context.index.dirty
    if state.documented:
        return
    needing = _needing(context)
    if not (dirty.hosts or needing):
        return
    zones: dict[str, list[str]] = {}
    for name in sorted(dirty.hosts | needing):
        host = state.hosts.get(name)
        if host and host.seen and (_zone(state, host) or not _has_addresses(host)):
            zones.setdefault(_zone(state, host), []).append(name)
    label = state.settings.zone_label
    known = {zone for leaf in state.topology.leaves for key, zone in leaf.needs if key == label}
    if not needing and (known or len(zones) > 1):
        zones.pop("", None)
    reported = ReportedAddresses(context, dirty.records)
    for zone in sorted(zones):
        if zone not in known:
            _open_group(context, zone, zones[zone], reported)


def _needing(context: Context) -> set[str]:
    """The nodes without a group and without a zone that have a pod that needs an address."""
    state, dirty = context.state, context.index.dirty
    waiting = {name for name in dirty.hosts if name in context.index.waiting.denied}
    for name, key in dirty.records:
        if claimant(state, name, key) is not None:
            waiting.add(name)
    hosts = (state.hosts[name] for name in waiting if name in state.hosts)
    return {
        host.name
        for host in hosts
        if host.seen and max(host.leaves, default=-1) < 0 and not _zone(state, host)
    }


def _zone(state: State, host: Host) -> str:
    return host.labels.get(state.settings.zone_label, "")


def _has_addresses(host: Host) -> bool:
    """Whether it has addresses in a group: then it stays there when it loses its label."""
    return any(block.leaf >= 0 and not block.idle for block in host.blocks.values())


def _open_group(context: Context, zone: str, nodes: list[str], reported: ReportedAddresses) -> None:
    state = context.state
    name = zone or default.NO_ZONE
    taken = default.opened(state.groups.values(), state.default_prefix)
    before = state.groups.get((default.NETWORK, name))
    if before and before.prefix in taken:
        prefix = before.prefix
    else:
        free = default.vacant(state.default_prefix, state.groups.values())
        if not free:
            return
        prefix = str(max(free, key=lambda slot: sum(reported.inside(node, slot) for node in nodes)))
    event = GroupOpened(
        network=default.NETWORK, group=name, prefix=prefix, assignment={state.settings.zone_label: zone}
    )
    context.publish(event, state.node_cause(nodes[0]))
    context.refreshed()


def place_hosts(context: Context, names: set[str], reported: ReportedAddresses) -> None:
    """Removes the nodes that are gone, then places the others."""
    hosts = [context.state.hosts[name] for name in sorted(names) if name in context.state.hosts]
    for host in hosts:
        if not host.seen:
            _remove(context, host)
    for host in hosts:
        if host.seen:
            _place(context, host, reported)


def _remove(context: Context, host: Host) -> None:
    """Removes a node once none of its pods is left. Until then its blocks and routes stay, for a kubelet that
    registers again."""
    state = context.state
    if any(record.block is not None for record in host.records.values()):
        return
    cause = state.node_cause(host.name)
    for block in sorted(host.blocks.values(), key=lambda block: block.prefix):
        release_block(context, block, state.settings.cooldown, cause)
    if decided := host.placed or host.denied:
        context.publish(HostRemoved(node=host.name, uid=decided.uid), cause)


def _place(context: Context, host: Host, reported: ReportedAddresses) -> None:
    networks = context.state.topology.networks
    leaves = [_choose_leaf(context, host, place, network, reported) for place, network in enumerate(networks)]
    chosen = {leaf.number for leaf in leaves if leaf}
    for block in sorted(host.idle.values(), key=_oldest):
        if block.leaf not in chosen:
            release_block(context, block, 0, "")
    if not chosen:
        _deny(context, host)
        return
    placements = tuple(
        Placement(network=leaf.network, group=leaf.group, prefix=str(leaf.prefix)) for leaf in leaves if leaf
    )
    # A node object that was just created again has no addresses yet: the routes to its pods stay.
    addresses = host.addresses or (host.placed.addresses if host.placed else ())
    unplaced = (network for network, leaf in zip(networks, leaves, strict=True) if not leaf)
    lacks = "; ".join(_no_family(host, network) for network in unplaced if lacks_family(host, network))
    event = HostPlaced(
        node=host.name, uid=host.uid, addresses=addresses, placements=placements, lacks=lacks
    )  # fmt: skip
    if host.placed != event:
        context.publish(event, host.cause)


def _choose_leaf(
    context: Context, host: Host, place: int, network: Network, reported: ReportedAddresses
) -> Leaf | None:
    """The leaf of the network that the host is placed in.

    A host stays where its labels still fit; and where it has addresses, if its labels fit nowhere. Else it
    moves to a leaf that fits: one where it has addresses already (the oldest first), or the one where its
    pods report most addresses, or the one with the fewest hosts. Its addresses elsewhere stay until their
    pods go. A network that overlaps what the host lives on has none for it, nor has one of a family in which
    the host has no address."""
    if _is_barred(context, host, network, reported):
        return None
    spaces, topology = context.index.spaces, context.index.topology
    number = host.leaves[place]
    if number >= 0 and topology.admits(network, spaces[number].leaf, host.name, host.labels):
        return spaces[number].leaf
    in_use = sorted((block for block in host.blocks.values() if not block.idle), key=_oldest)
    occupied = {block.leaf: None for block in in_use if block.leaf in network.numbers}
    eligible = topology.eligible(network, host.name, host.labels)
    if occupied and not eligible:
        return spaces[number if number in occupied else next(iter(occupied))].leaf
    for other in occupied:
        if topology.admits(network, spaces[other].leaf, host.name, host.labels):
            return spaces[other].leaf
    ranks = {
        leaf: (-reported.inside(host.name, leaf.prefix), len(spaces[leaf.number].members))
        for leaf in eligible
    }
    return min(ranks, key=ranks.__getitem__, default=None)


def _is_barred(context: Context, host: Host, network: Network, reported: ReportedAddresses) -> bool:
    """Whether the network cannot be used on the host, and no pod there has an address of it. A report alone
    takes no address away, so a host with pods stays; the audit tells it."""
    if not lacks_family(host, network) and not (
        host.underlay and overlap(context.state.topology, network, host.underlay)
    ):
        return False
    in_use = (block for block in host.blocks.values() if not block.idle)
    if any(network.prefix.overlaps(block.prefix) for block in in_use):
        return False
    return not reported.inside(host.name, network.prefix)


def lacks_family(host: Host, network: Network) -> bool:
    """Whether the host has addresses, and none of the network's family: other nodes would have no next hop to
    its pods. A host whose addresses are not known yet may get one of each."""
    six = network.prefix.width == V6
    return bool(host.addresses) and not any((":" in address) == six for address in host.addresses)


def _deny(context: Context, host: Host) -> None:
    state = context.state
    reasons = [_why_not(state, host, network) for network in state.topology.networks]
    reason = "; ".join(reasons) or "the topology has no network"
    event = HostDenied(node=host.name, uid=host.uid, reason=reason)
    if host.denied != event:
        context.publish(event, host.cause)


def _no_slot(state: State, host: Host) -> str:
    if not default.vacant(state.default_prefix, state.groups.values()):
        taken = ", ".join(leaf.group for leaf in state.topology.leaves)
        zone = _zone(state, host) or default.NO_ZONE
        return f"no group is left for {zone}: the default network has {taken}. Set a topology"
    return (
        f"it has no label {state.settings.zone_label} yet; "
        "it is placed once it has, or once a pod on it wants an address"
    )


def _why_not(state: State, host: Host, network: Network) -> str:
    """Why the host cannot be in the network."""
    if lacks_family(host, network):
        return _no_family(host, network)
    if (found := overlap(state.topology, network, host.underlay)) is None:
        return _missing_labels(network, host.labels) if state.documented else _no_slot(state, host)
    remedy = "with another cidr (romana-bus topology apply)"
    if not state.documented:
        remedy = "of its own (romana-bus topology apply), or another --network (romana-bus ipam settings set)"
    return f"network {network.name}: {found.of(host.name)}: set a topology {remedy}"


def _no_family(host: Host, network: Network) -> str:
    family = "IPv6" if network.prefix.width == V6 else "IPv4"
    lacks = f"network {network.name} is {family}, and node {host.name} has no {family} address"
    return f"{lacks}: let its kubelet report one (--node-ip)"


def _missing_labels(network: Network, labels: Mapping[str, str]) -> str:
    if not network.leaves:
        return f"network {network.name} has no groups"
    missing = dict.fromkeys(
        " and ".join(f"{key}={value}" for key, value in leaf.needs if labels.get(key, "") != value)
        for leaf in network.leaves
    )
    more = f" or {len(missing) - NAMED} others" if len(missing) > NAMED else ""
    return f"network {network.name} needs the label {' or '.join(list(missing)[:NAMED])}{more}"


def release_block(context: Context, block: Block, cooldown: int, cause: str) -> None:
    """Releases the block. Others may get it after `cooldown` (µs)."""
    now = context.state.now
    event = BlockReleased(
        network=block.network, block=block.text, node=block.node, at=now, until=now + cooldown
    )  # fmt: skip
    context.publish(event, cause)
