"""Findings about blocks: in the wrong place, overlapping, or with wrong counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from romana_bus.events import BlockAssigned
from romana_bus.ipam.audit.finding import Finding, records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.state import State


def misplaced(state: State) -> Iterator[Finding]:
    """Yields the blocks that overlap another one, and those in no group of their node. The leader of `ipam`
    takes the overlapping ones back."""
    for entity, refusal in sorted(state.refused.items()):
        if isinstance(refusal.event, BlockAssigned):
            _, node, block_text = entity
            text = f"{block_text} was given to {node}, though {refusal.reason}"
            yield Finding(kind="overlap", node=node, block=block_text, text=text)
    if state.blocked:
        return  # no group is known
    for block in sorted((b for b in state.blocks.values() if b.node), key=lambda block: block.prefix):
        leaf = state.topology.leaf_of(block.prefix)
        host = state.hosts[block.node]
        prefixes = {placement.prefix for placement in host.placements}
        left = leaf is not None and str(leaf.prefix) not in prefixes and block.idle
        if leaf is None or left:
            where = f"group {leaf.group}, which its node has left" if leaf else "no group"
            text = f"{block.text} of {block.node} is in {where}; {block.used.bit_count()} addresses are used"
            yield Finding(kind="outside", node=block.node, block=block.text, text=text)


def miscounted(state: State) -> Iterator[Finding]:
    """Yields the addresses outside their node's blocks, and the blocks whose used addresses do not add up."""
    assigned: set[tuple[str, int]] = set()
    for host, record in records(state):
        for held in record.held:
            assigned.add((held.block.text, held.offset))
            address = held.address if held.offset >= 0 else "an address below it"
            if not 0 <= held.offset < held.block.prefix.size:
                text = f"{address} of {record.key} on {host.name} is outside its block {held.block.text}"
            elif held.block.node != host.name:
                text = f"{address} of {record.key} on {host.name} is in {_described(held.block)}"
            else:
                continue
            yield Finding(
                kind="count", node=host.name, pod=record.key, uid=record.uid, block=held.block.text, text=text
            )
    counted = Counter(text for text, _ in assigned)
    for text, block in sorted(state.blocks.items()):
        if block.used.bit_count() != counted[text]:
            reason = f"{text}: {block.used.bit_count()} addresses used, {counted[text]} given to pods"
            yield Finding(kind="count", node=block.node, block=text, text=reason)


def _described(block: Block) -> str:
    return f"block {block.text} of {block.node}" if block.node else f"{block.text}, which is nobody's block"
