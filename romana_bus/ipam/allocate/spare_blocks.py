"""Spare (warm) blocks: those that a host holds ahead of need, without an address in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import BlockAssigned
from romana_bus.ipam.allocate.place_nodes import release_block
from romana_bus.ipam.model.blocks import ALL

if TYPE_CHECKING:
    from romana_bus.inet import Prefix
    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.free_space import FreeSpace
    from romana_bus.ipam.model.nodes import Host


def release_extra_blocks(context: Context, names: set[str]) -> None:
    """Releases the empty blocks of the hosts beyond their spare ones. The spare ones serve all owners
    again."""
    for host in _hosts(context, names):
        for number in sorted({block.leaf for block in host.idle.values()}):
            blocks = sorted((block for block in host.idle.values() if block.leaf == number), key=spare_order)
            keep = context.state.settings.warm_blocks if number >= 0 and number in host.leaves else 0
            useful = [block for block in blocks if block.has_free_address and not block.single]
            useless = [block for block in blocks if not block.has_free_address or block.single]
            for block in useful[:keep]:
                if block.claimed:
                    assign_block(context, host, block.network, block.text, ALL, ALL, since=block.since)
            for block in useful[keep:] + useless:
                release_block(context, block, 0, "")


def spare_order(block: Block) -> tuple[bool, int, int]:
    """Sorts the blocks to keep first: those that serve all owners, then the oldest."""
    return block.claimed, *block.order


def open_spare_blocks(context: Context, names: set[str]) -> None:
    """Opens the spare blocks that the hosts lack, as long as their groups have free ones."""
    for host in _hosts(context, names):
        for place, number in enumerate(host.leaves if host.seen else ()):
            for_all = not context.state.topology.networks[place].tenants
            if number >= 0 and (for_all or _has_block(host, number)):
                _open_missing(context, host, context.index.spaces[number])


def _open_missing(context: Context, host: Host, space: FreeSpace) -> None:
    number = space.leaf.number
    lacking = context.state.settings.warm_blocks - sum(
        block.leaf == number and block.has_free_address and not block.single for block in host.idle.values()
    )
    for _ in range(lacking):
        prefix = next_block(context, space)
        if prefix is None:
            space.short.add(host.name)
            return
        assign_block(context, host, space.leaf.network, str(prefix), ALL, ALL, cause=host.cause)


def _has_block(host: Host, leaf: int) -> bool:
    return any((key if isinstance(key, int) else key[0]) == leaf for key in host.chains)


def next_block(context: Context, space: FreeSpace) -> Prefix | None:
    """The block of the group that is opened next; None where it has no free one."""
    state = context.state
    return space.next(state.now - state.order_memory, state.reserved_in(space.leaf.prefix.width))


def assign_block(
    context: Context, host: Host, network: str, block: str, tenant: str, segment: str, *,
    since: int | None = None, cause: str = "",
) -> None:  # fmt: skip
    """Assigns the block to the host, for one tenant and segment or for all. `since`: now, if not given."""
    since = context.state.now if since is None else since
    event = BlockAssigned(
        network=network, block=block, node=host.name, tenant=tenant, segment=segment, since=since
    )  # fmt: skip
    context.publish(event, cause)


def _hosts(context: Context, names: set[str]) -> list[Host]:
    return [context.state.hosts[name] for name in sorted(names) if name in context.state.hosts]
