"""What a simulation has come to, in the form in which Romana's results were written down.

Each network with a map: its tree, and its blocks in the order of the tree. A block that was used once and
is nobody's now is there too, with an empty host.
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
    """`hosts`: in the order in which they joined."""
    there: dict[tuple[str, str], list[str]] = {}
    for name in hosts:
        placed = state.hosts[name].placed if name in state.hosts else None
        for placement in placed.placements if placed else ():
            there.setdefault((placement.network, placement.prefix), []).append(name)
    joined = {name for entry in document["topologies"] if len(entry["map"]) > 1 for name in entry["networks"]}
    return {
        network.name: _root(network, network.tree, there, network.name in joined)
        for network in state.topology.networks
        if network.tree
    }


def _root(network: Network, root: Group, there: dict[tuple[str, str], list[str]], joined: bool) -> Any:
    """One that was made to join the entries of a map has no CIDR of its own."""
    drawn = _group(network, root, there)
    return {**drawn, "cidr": ""} if joined else drawn


def _group(network: Network, group: Group, there: dict[tuple[str, str], list[str]]) -> dict[str, Any]:
    drawn: dict[str, Any] = {"cidr": str(group.prefix)}
    if group.name:
        drawn["name"] = group.name
    if group.assignment:
        drawn["assignment"] = dict(group.assignment)
    if group.routing:
        drawn["routing"] = group.routing
    if group.groups:
        drawn["groups"] = [_group(network, inner, there) for inner in group.groups]
        return drawn
    listed = [host.name for host in group.hosts]
    added = there.get((network.name, str(group.prefix)), ())
    drawn["hosts"] = listed + [name for name in added if name not in network.listed]
    return drawn


def blocks(state: State) -> dict[str, list[dict[str, Any]]]:
    inside: dict[int, list[Block]] = {}
    for block in sorted(state.blocks.values(), key=_base):
        if leaf := state.topology.leaf_of(block.prefix):
            inside.setdefault(leaf.number, []).append(block)
    return {
        network.name: list(_blocks(network, inside)) for network in state.topology.networks if network.tree
    }


def _blocks(network: Network, inside: dict[int, list[Block]]) -> Iterator[dict[str, Any]]:
    for leaf in network.leaves:
        for block in inside.get(leaf.number, ()):
            yield {
                "cidr": block.text,
                "host": block.node,
                "tenant": block.tenant if block.node else "",
                "segment": block.segment if block.node else "",
                "allocated_ip_count": block.used.bit_count(),
            }


def shown(found: tuple[str, ...]) -> str | list[str]:
    """An address; or one of each family."""
    return found[0] if len(found) == 1 else list(found)
