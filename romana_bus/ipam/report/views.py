"""Views of networks, groups, hosts, blocks and pods, for people and programs. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.ipam.model import sandboxes
from romana_bus.ipam.model.nodes import pod_key, pod_order
from romana_bus.ipam.model.usage import Usage, block_usage, total, usage_index

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.model.usage import UsageByFamily, UsageIndex
    from romana_bus.ipam.topology.networks import Network
    from romana_bus.ipam.topology.tree import Group, Leaf


class BlockView(msgspec.Struct, frozen=True, kw_only=True):
    """A block that belongs to `node`. `tenant`, `segment`: whose pods it serves; '*' for all tenants or
    segments, and `pod:NAME` for one pod alone."""

    block: str
    network: str
    node: str
    tenant: str
    segment: str
    usage: Usage = msgspec.field(name="room")


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """`closed`: kept for a later group. `leaf`: nodes are placed in it."""

    group: str
    prefix: str
    leaf: bool
    closed: bool
    needs: dict[str, str]
    routing: Any
    hosts: int
    usage: Usage = msgspec.field(name="room")


class NetworkView(msgspec.Struct, frozen=True, kw_only=True):
    """`usage`: of the whole prefix. `usable`: of the groups that nodes are placed in: all that can be
    allocated now."""

    network: str
    prefix: str
    block_mask: int
    tenants: tuple[str, ...]
    hosts: int
    usage: Usage = msgspec.field(name="room")
    usable: Usage
    groups: tuple[GroupView, ...]


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """`groups`: network -> the path of its group. `usage`: of its blocks."""

    node: str
    in_api: bool
    addresses: tuple[str, ...]
    groups: dict[str, str]
    denied: str
    pods: int
    waiting: int
    usage: Usage = msgspec.field(name="room")
    blocks: tuple[BlockView, ...]


class PodView(msgspec.Struct, frozen=True, kw_only=True):
    """A pod's record on a node. `cooling`: address -> when it is free again (µs). `code`, `reason`: why it
    was denied an address. `retention`: µs for which its addresses are kept after it is gone;
    `requested_retention`: µs that it requested."""

    namespace: str
    name: str
    node: str
    uid: str
    addresses: tuple[str, ...]
    cooling: dict[str, int]
    code: str
    reason: str
    retention: int = 0
    requested_retention: int = 0


class Totals(NamedTuple):
    """`nodes`, `pods`: those in the API. `wanting`, `held`: the pods that need an address and those that have
    one, with the pods that only their kubelets know."""

    nodes: int
    pods: int
    wanting: int
    held: int


def totals(state: State) -> Totals:
    """Counts the nodes and pods of the cluster."""
    hosts = state.hosts.values()
    return Totals(
        nodes=sum(host.seen for host in hosts),
        pods=len(state.pods),
        wanting=sum(not pod.unfit for pod in state.pods.values()) + len(sandboxes.beyond_the_api(state)),
        held=sum(bool(record.held) for host in hosts for record in host.records.values()),
    )


def networks(state: State, index: UsageByFamily | None = None) -> tuple[NetworkView, ...]:
    """`index`: where the caller has it already."""
    index = index or usage_index(state)
    members = _members(state)
    return tuple(
        _network(network, index[network.prefix.width], members) for network in state.topology.networks
    )


def _network(network: Network, index: UsageIndex, members: Mapping[str, set[str]]) -> NetworkView:
    groups = tuple(_groups(network.tree, index, members) if network.tree else ())
    return NetworkView(
        network=network.name,
        prefix=str(network.prefix),
        block_mask=network.block_length,
        tenants=network.tenants,
        hosts=len(set().union(*(members.get(str(leaf.prefix), set()) for leaf in network.leaves))),
        usage=index.usage(network.prefix),
        usable=total(group.usage for group in groups if group.leaf),
        groups=groups,
    )


def _members(state: State) -> dict[str, set[str]]:
    """Prefix of a leaf -> the hosts placed in it."""
    members: dict[str, set[str]] = {}
    for host in state.hosts.values():
        for placement in host.placements:
            members.setdefault(placement.prefix, set()).add(host.name)
    return members


def _groups(group: Group, index: UsageIndex, members: Mapping[str, set[str]]) -> Iterator[GroupView]:
    leaf = not group.groups and not group.closed
    inside = [view for inner in group.groups for view in _groups(inner, index, members)]
    yield GroupView(
        group=group.path,
        prefix=str(group.prefix),
        leaf=leaf,
        closed=group.closed,
        needs=dict(group.assignment),
        routing=group.routing,
        hosts=len(members.get(str(group.prefix), ())) if leaf else sum(v.hosts for v in inside if v.leaf),
        usage=index.usage(group.prefix),
    )
    yield from inside


def blocks(state: State) -> tuple[BlockView, ...]:
    """The blocks that belong to a node, by address."""
    owned = (block for block in state.blocks.values() if block.node)
    return tuple(_block(state, block) for block in sorted(owned, key=lambda block: block.prefix))


def _block(state: State, block: Block) -> BlockView:
    leaf = state.topology.leaf_of(block.prefix)
    return BlockView(
        block=block.text,
        network=leaf.network if leaf else block.network,
        node=block.node,
        tenant=block.tenant,
        segment=block.segment,
        usage=block_usage(block, state.reserved_in(block.prefix.width)),
    )


def hosts(state: State) -> tuple[HostView, ...]:
    return tuple(_host(state, host) for _, host in sorted(state.hosts.items()))


def host(state: State, name: str) -> HostView | None:
    return _host(state, state.hosts[name]) if name in state.hosts else None


def _host(state: State, host: Host) -> HostView:
    owned = sorted(host.blocks.values(), key=lambda block: block.prefix)
    views = tuple(_block(state, block) for block in owned)
    return HostView(
        node=host.name,
        in_api=host.seen,
        addresses=host.addresses,
        groups={placement.network: placement.group for placement in host.placed.placements}
        if host.placed
        else {},
        denied=host.denied.reason if host.denied else "",
        pods=sum(bool(record.held) for record in host.records.values()),
        waiting=sum(bool(record.code) for record in host.records.values()),
        usage=total(view.usage for view in views),
        blocks=views,
    )


def pod(state: State, namespace: str, name: str) -> tuple[PodView, ...]:
    """The records of a pod's name, one for each node that has one: usually one node."""
    key = pod_key(namespace, name)
    return tuple(
        _pod(state, host, host.records[key]) for _, host in sorted(state.hosts.items()) if key in host.records
    )


def pods_on(state: State, node: str) -> tuple[PodView, ...]:
    """The records of a node, by namespace and name."""
    host = state.hosts[node]
    return tuple(
        _pod(state, host, record)
        for _, record in sorted(host.records.items(), key=lambda item: pod_order(item[0]))
    )


def _pod(state: State, host: Host, record: Record) -> PodView:
    namespace, name = pod_order(record.key)
    pod = state.pods.get(record.key)
    request = pod.request if pod and pod.ident == record.ident else None
    return PodView(
        namespace=namespace,
        name=name,
        node=host.name,
        uid=record.uid,
        addresses=record.addresses,
        cooling={cooling.address: cooling.until for cooling in record.cooling},
        code=record.code,
        reason=record.reason,
        retention=record.retention,
        requested_retention=request.retention if request else 0,
    )


def misplaced(state: State, node: str, labels: Mapping[str, str]) -> tuple[Leaf, ...]:
    """The groups that the node is in, and that would not take it with these labels."""
    host = state.hosts.get(node)
    prefixes = {placement.prefix for placement in host.placements} if host else set()
    return tuple(
        leaf
        for network in state.topology.networks
        for leaf in network.leaves
        if str(leaf.prefix) in prefixes and not state.topology.admits(network, leaf, node, labels)
    )
