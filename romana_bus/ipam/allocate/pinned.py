"""Addresses that are wished for: one certain address, or the one that a pod of this name had before.

Such an address is a block of its own where it can be, so that it follows its pod to other nodes of the
group at the cost of one route. A wish that cannot be met is a sentence that says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import WHILE_IT_RUNS
from romana_bus.inet import V4, Prefix, format_address
from romana_bus.ipam.allocate.offers import Choice, Owner, families_for, own_block, owner_of

if TYPE_CHECKING:
    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.free_space import FreeSpace
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod


def why_unmet(context: Context, pod: Pod, host: Host) -> str:
    """Why the pod cannot have what it wishes for, or ''."""
    assert pod.wish is not None
    if reason := not_offered(context, pod, host):
        return reason
    for offering in families_for(context, pod, host):
        wished = certain(context, pod, host, offering)
        if isinstance(wished, str):
            return wished
    return ""


def not_offered(context: Context, pod: Pod, host: Host) -> str:
    """Why what the pod wishes for is not there for it at all, or ''."""
    wish, topology = pod.wish, context.index.topology
    if wish is None or wish.bad:
        return wish.bad if wish else ""
    for name in wish.networks:
        if name not in topology.place:
            return f"there is no network {name}"
        if topology.place[name] not in topology.order(pod.tenant):
            return f"network {name} is not for tenant {pod.tenant}"
    widths = {spaces[0].leaf.prefix.width for spaces in families_for(context, pod, host)}
    if wish.networks and not widths:
        return f"node {host.name} is in no group of network {' or '.join(wish.networks)}"
    for width, value in wish.addresses:
        if width not in widths:
            family = "IPv4" if width == V4 else "IPv6"
            return f"{format_address(width, value)}: node {host.name} is in no group with {family} addresses"
    return ""


def certain(context: Context, pod: Pod, host: Host, offering: tuple[FreeSpace, ...]) -> Choice | str | None:
    """A choice of one family, or why there is none; None where any address will do."""
    wish = pod.wish
    if wish is None:
        return None
    width = offering[0].leaf.prefix.width
    value = wish.address(width)
    if value is not None:
        choice = _fixed(context, pod, host, offering, value)
        return f"{format_address(width, value)} {choice}" if isinstance(choice, str) else choice
    if wish.retention:
        return _kept(context, pod, host, offering) or _own(context, pod, offering)
    return None


def _fixed(
    context: Context, pod: Pod, host: Host, offering: tuple[FreeSpace, ...], value: int
) -> Choice | str:
    for space in offering:
        inside = space.leaf.prefix
        if inside.base <= value < inside.end:
            if context.state.reserved_in(inside.width).holds(value, value + 1):
                return "is reserved"
            if kept := _kept(context, pod, host, (space,), value):
                return kept
            return exactly(context, pod, host, space, value)
    groups = ", ".join(f"{space.leaf.prefix}" for space in offering)
    return f"is outside the groups of node {host.name}: {groups}"


def exactly(
    context: Context, pod: Pod, host: Host, space: FreeSpace, value: int, lives: bool = False
) -> Choice | str:
    """`value`, if nobody has it, in the host's own block or in one that is opened: of the usual size, or,
    for a wish, of this one address. One that still cools goes back to the pod name that gave it up, and to
    the pod that `lives` there, unless one that lost it may run on with it."""
    block = _block_at(context, space, value)
    if block is None:
        choice = _opened(pod, context, space, value)
        free = space.free.holds(choice.prefix.base, choice.prefix.end)
        return choice if free else "has no room for a block around it"
    offset = value - block.prefix.base
    taken = (block.used if lives and not _runs_on(block, offset) else block.used | block.cool) >> offset & 1
    if taken and not _cools(host, pod, block, offset):
        return _whose(context, block, offset)
    if block.node == host.name:
        owner = own_block(pod) if block.segment == own_block(pod)[1] else owner_of(context, pod)
        if (block.tenant, block.segment) != owner and not block.idle:
            return f"is in block {block.text}, which serves {block.tenant}/{block.segment}"
        return Choice(owner, space, block.prefix, block, offset)
    if not block.node and block.by == host.name and block.free_at > context.state.now:
        return Choice(owner_of(context, pod), space, block.prefix, None, offset)
    alike = block.prefix.length == space.leaf.block_length
    if block.node and block.idle and (pod.wish is not None or (lives and alike)):
        return _opened(pod, context, space, value)._replace(victim=block)
    return f"is in block {block.text} of node {block.node}" if block.node else "is not free yet"


def _opened(pod: Pod, context: Context, space: FreeSpace, value: int) -> Choice:
    width = space.leaf.prefix.width
    if pod.wish is not None:
        return Choice(own_block(pod), space, Prefix(width, value, width), None, 0)
    size = 1 << (width - space.leaf.block_length)
    prefix = Prefix(width, value & -size, space.leaf.block_length)
    return Choice(owner_of(context, pod), space, prefix, None, value - prefix.base)


def _block_at(context: Context, space: FreeSpace, value: int) -> Block | None:
    """The block around `value` that is somebody's, or cools, if there is one."""
    inside = space.leaf.prefix
    for length in range(inside.width, -1, -1):
        size = 1 << (inside.width - length)
        block = context.state.blocks.get(str(Prefix(inside.width, value & -size, length)))
        if block is not None and block.taken:
            return block
    return None


def _runs_on(block: Block, offset: int) -> bool:
    """A pod that lost it may still have it."""
    return block.until is not None and block.until.get(offset) == WHILE_IT_RUNS


def _cools(host: Host, pod: Pod, block: Block, offset: int) -> bool:
    record = host.records.get(pod.key)
    return not block.used >> offset & 1 and any(
        cooling.block is block and cooling.offset == offset for cooling in (record.cooling if record else ())
    )


def _whose(context: Context, block: Block, offset: int) -> str:
    """In words that change only when somebody else has it."""
    if not block.used >> offset & 1:
        return "is cooling down"
    host = context.state.hosts.get(block.node)
    for record in host.records.values() if host else ():
        if any(held.block is block and held.offset == offset for held in record.held):
            return f"is {record.key}'s"
    return "is in use"


def _kept(
    context: Context, pod: Pod, host: Host, offering: tuple[FreeSpace, ...], value: int | None = None
) -> Choice | None:
    """What a node of the group keeps for the pod's name. From another node it comes with its block, if
    that is no other pod's too."""
    state = context.state
    for node in sorted(state.kept.get(pod.key, ())):
        donor = state.hosts[node]
        for cooling in donor.records[pod.key].cooling:
            block, offset = cooling.block, cooling.offset
            where = cooling.numeric[1]
            space = next((space for space in offering if space.leaf.number == block.leaf), None)
            if not cooling.kept or space is None or (value is not None and value != where):
                continue
            if block.used >> offset & 1 or state.reserved_in(block.prefix.width).holds(where, where + 1):
                continue
            owner: Owner = (block.tenant, block.segment)
            if block.node == host.name and node == host.name:
                return Choice(owner, space, block.prefix, block, offset)
            if block.prefix.size == 1 and node != host.name and block.node in ("", node):
                return Choice(own_block(pod), space, block.prefix, None, offset, donor=(donor, cooling))
    return None


def _own(context: Context, pod: Pod, offering: tuple[FreeSpace, ...]) -> Choice | None:
    """A block of one address, so that it can follow the pod."""
    for space in offering:
        width = space.leaf.prefix.width
        value = space.free.lowest(1, context.state.reserved_in(width))
        if value is not None:
            return Choice(own_block(pod), space, Prefix(width, value, width), None, 0)
    return None
