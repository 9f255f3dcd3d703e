"""What can be full, and how many addresses are free."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romana_bus.ipam.model.state import State

#: What is full where a pod finds no address: the blocks of its node, its group, or the whole network.
BLOCK, GROUP, NETWORK = "block", "group", "network"


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
