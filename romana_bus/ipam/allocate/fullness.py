"""What is full where a pod finds no address: the blocks of its node, its group, or the whole network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.ipam.allocate.offers import families_for

if TYPE_CHECKING:
    from romana_bus.ipam.allocate.context import Desk
    from romana_bus.ipam.model.free_space import Space
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod
    from romana_bus.ipam.model.state import State

BLOCK, GROUP, NETWORK = "block", "group", "network"


def scope_of(desk: Desk, pod: Pod, host: Host) -> str:
    """The most that is full among the families that the pod needs. It is told as it was at that moment:
    what other nodes and groups have is no reason to tell it again."""
    free = desk.free_addresses()
    scopes = [_scope(desk, spaces, free) for spaces in families_for(desk, pod, host)]
    return max(scopes, key=(BLOCK, GROUP, NETWORK).index, default="")


def _scope(desk: Desk, spaces: tuple[Space, ...], free: list[int]) -> str:
    if any(free[space.leaf.number] for space in spaces):
        return BLOCK
    networks = {space.leaf.network for space in spaces}
    leaves = (leaf for leaf in desk.layout.topology.leaves if leaf.network in networks)
    return GROUP if any(free[leaf.number] for leaf in leaves) else NETWORK


def free_addresses(state: State) -> list[int]:
    """How many each leaf has, by its number, in whosever block they are."""
    free = []
    for leaf in state.topology.leaves:
        reserved = state.reserved_in(leaf.prefix.width)
        free.append(leaf.prefix.size - reserved.count(leaf.prefix.base, leaf.prefix.end))
    for block in state.blocks.values():
        if block.leaf >= 0:
            free[block.leaf] -= ((block.used | block.cool) & ~block.reserved).bit_count()
    return free
