"""The result of a simulation, in the format of Romana's tests.

For each network with a map: its tree, and its blocks in the order of the tree. A block that was used once and
belongs to no host now has an empty host.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.topology.networks import Network
    from romana_bus.ipam.topology.tree import Group

_base = attrgetter("prefix.base")


def tree(state: State, document: dict[str, Any], hosts: Iterable[str]) -> dict[str, Any]:
    """The tree of each network. `hosts`: in the order in which they joined."""
    placed_in: dict[tuple[str, str], list[str]] = {}
    for name in hosts:
        for placement in state.hosts[name].placements if name in state.hosts else ():
            placed_in.setdefault((placement.network, placement.prefix), []).append(name)
    joined = {name for entry in document["topologies"] if len(entry["map"]) > 1 for name in entry["networks"]}
    return {
        network.name: _root(network, network.tree, placed_in, network.name in joined)
        for network in state.topology.networks
        if network.tree
    }


def _root(network: Network, root: Group, placed_in: dict[tuple[str, str], list[str]], joined: bool) -> Any:
    """The root of a tree. A root that joins the entries of a map has no CIDR of its own."""
    tree = _group(network, root, placed_in)
    return {**tree, "cidr": ""} if joined else tree


def _group(network: Network, group: Group, placed_in: dict[tuple[str, str], list[str]]) -> dict[str, Any]:
    entry: dict[str, Any] = {"cidr": str(group.prefix)}
    if group.name:
        entry["name"] = group.name
    if group.assignment:
        entry["assignment"] = dict(group.assignment)
    if group.routing:
        entry["routing"] = group.routing
    if group.groups:
        entry["groups"] = [_group(network, inner, placed_in) for inner in group.groups]
        return entry
    listed = [host.name for host in group.hosts]
    added = placed_in.get((network.name, str(group.prefix)), ())
    entry["hosts"] = listed + [name for name in added if name not in network.listed]
    return entry


def blocks(state: State) -> dict[str, list[dict[str, Any]]]:
    """The blocks of each network."""
    by_leaf: dict[int, list[Block]] = {}
    for block in sorted(state.blocks.values(), key=_base):
        if leaf := state.topology.leaf_of(block.prefix):
            by_leaf.setdefault(leaf.number, []).append(block)
    return {
        network.name: list(_blocks(network, by_leaf)) for network in state.topology.networks if network.tree
    }


def _blocks(network: Network, by_leaf: dict[int, list[Block]]) -> Iterator[dict[str, Any]]:
    for leaf in network.leaves:
        for block in by_leaf.get(leaf.number, ()):
            yield {
                "cidr": block.text,
                "host": block.node,
                "tenant": block.tenant if block.node else "",
                "segment": block.segment if block.node else "",
                "allocated_ip_count": block.used.bit_count(),
            }


def shown(addresses: tuple[str, ...]) -> str | list[str]:
    """The address; or a list of one address of each family."""
    return addresses[0] if len(addresses) == 1 else list(addresses)
