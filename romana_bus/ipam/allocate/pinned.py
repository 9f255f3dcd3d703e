"""Pinned addresses: a fixed address that a pod requests, or the one that a pod of its name had before.

Such an address is a block of its own where that is possible: then it follows its pod to another node of the
group at the cost of one route. `watch` collects what the answer depends on: when one of these targets
changes, the pod has to be tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import WHILE_IT_RUNS
from romana_bus.inet import V4, Prefix, format_address
from romana_bus.ipam.allocate.choice import Choice, Owner, families_for, own_block, owner_of
from romana_bus.ipam.allocate.limits import Unmet, not_allowed, over_limit, too_broken
from romana_bus.ipam.model.pinned import whole_block
from romana_bus.ipam.model.waiting import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.free_space import FreeSpace
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod
    from romana_bus.ipam.model.records import Cooling
    from romana_bus.ipam.model.waiting import Target


def requested_families(
    context: Context, pod: Pod, host: Host, watch: set[Target]
) -> Unmet | list[tuple[FreeSpace, ...]]:
    """For each family, the groups that the pod's address can come from with what it requests; or why it
    cannot have that."""
    if reason := why_not_available(context, pod, host):
        return Unmet(reason)
    families = []
    for spaces in families_for(context, pod, host):
        pinned = pinned_choice(context, pod, host, spaces, watch)
        if isinstance(pinned, Unmet):
            return pinned
        families.append((pinned.space,) if isinstance(pinned, Choice) else pinned)
    return families


def why_not_available(context: Context, pod: Pod, host: Host) -> str:
    """Why the networks or families that the pod requests are not available to it, or ''."""
    request, topology = pod.request, context.index.topology
    if request is None or request.error:
        return request.error if request else ""
    for name in request.networks:
        if name not in topology.place:
            return f"there is no network {name}"
        if topology.place[name] not in topology.order(pod.tenant):
            return f"network {name} is not for tenant {pod.tenant}"
    widths = {family[0].leaf.prefix.width for family in families_for(context, pod, host)}
    if request.networks and not widths:
        return f"node {host.name} is in no group of network {' or '.join(request.networks)}"
    for width, value in request.addresses:
        if width not in widths:
            family = "IPv4" if width == V4 else "IPv6"
            return f"{format_address(width, value)}: node {host.name} is in no group with {family} addresses"
    return ""


def pinned_choice(
    context: Context, pod: Pod, host: Host, spaces: tuple[FreeSpace, ...], watch: set[Target]
) -> Choice | Unmet | tuple[FreeSpace, ...]:
    """A choice of one family, or why there is none; or the spaces from which the pod can have any address."""
    request = pod.request
    if request is None:
        return spaces
    width = spaces[0].leaf.prefix.width
    value = request.address(width)
    if value is not None:
        return _fixed_address(context, pod, host, spaces, value, watch)
    if request.retention:
        return _sticky_address(context, pod, host, spaces, watch)
    return spaces


def _fixed_address(
    context: Context, pod: Pod, host: Host, spaces: tuple[FreeSpace, ...], value: int, watch: set[Target]
) -> Choice | Unmet:
    width = spaces[0].leaf.prefix.width
    address = format_address(width, value)
    space = next((space for space in spaces if space.leaf.prefix.includes(width, value)), None)
    if space is None:
        groups = ", ".join(f"{space.leaf.prefix}" for space in spaces)
        return Unmet(f"{address} is outside the groups of node {host.name}: {groups}")
    if unmet := not_allowed(context, pod, space, fixed=True):
        return unmet
    if taken := context.state.excluded.nodes.get((width, value)):
        return Unmet(f"{address} is {taken}: request another one")
    if context.state.reserved_in(width).holds(value, value + 1):
        return Unmet(f"{address} is reserved")
    watch.update((ADDRESS, *cooling.numeric) for _, cooling in _kept(context, pod))
    if kept := _kept_address(context, pod, host, (space,), value):
        return kept
    # Before anything about the address: who is over the limit waits for its own share, and for nothing that
    # others change.
    if over := over_limit(context, pod, space, watch):
        return over
    watch.add((ADDRESS, width, value))
    choice = choice_of_address(context, pod, host, space, value)
    if isinstance(choice, str):
        return Unmet(f"{address} {choice}")
    return too_broken(context, space, choice, address, watch) or choice


def _sticky_address(
    context: Context, pod: Pod, host: Host, spaces: tuple[FreeSpace, ...], watch: set[Target]
) -> Choice | Unmet | tuple[FreeSpace, ...]:
    """The address that is kept for the pod's name; else a new one, in a block of its own, if its namespace
    may have one more; else any address: a pod without one helps nobody."""
    allowed = tuple(space for space in spaces if not not_allowed(context, pod, space))
    if not allowed:
        return not_allowed(context, pod, spaces[0]) or ()
    watch.update((ADDRESS, *cooling.numeric) for _, cooling in _kept(context, pod))
    if kept := _kept_address(context, pod, host, allowed):
        return kept
    left = tuple(space for space in allowed if over_limit(context, pod, space, watch) is None)
    if not left or not _all_families_retain(context, pod, host, watch):
        return allowed
    topology = context.index.topology
    retaining = (space for space in left if topology.limits_of(space.leaf.number).max_retention)
    over = (space for space in allowed if space not in left)
    return _own_address(context, pod, retaining) or (*left, *over)


def _all_families_retain(context: Context, pod: Pod, host: Host, watch: set[Target]) -> bool:
    """Whether the namespace may have one more address in each family. Addresses of one pod are retained
    together or not at all, so otherwise a block of one address would serve nothing."""
    families = families_for(context, pod, host)
    return len(families) == 1 or all(
        any(not over_limit(context, pod, space, watch) for space in spaces) for spaces in families
    )


def choice_of_address(
    context: Context, pod: Pod, host: Host, space: FreeSpace, value: int, reported: bool = False
) -> Choice | str:
    """A choice of the address `value`, or why it cannot be had.

    It is taken from a block of the host, or from a new one: of the usual size, or, for a request, of this one
    address. An address that cools down is given to the pod name that released it, and to the pod that
    `reported` it, unless another pod may still run with it."""
    block = _block_at(context, space, value)
    if block is None:
        choice = _new_block(pod, context, space, value)
        free = space.free.holds(choice.prefix.base, choice.prefix.end)
        return choice if free else "has no room for a block around it"
    offset = value - block.prefix.base
    ignores_cooling = reported and not _is_withheld(block, offset)
    taken = (block.used if ignores_cooling else block.used | block.cool) >> offset & 1
    if taken and not _cools_for(host, pod, block, offset):
        return _why_taken(context, block, offset)
    # A spare block is a whole one, also the node's own: addresses that are requested one in each would have
    # its next spare blocks opened without a limit.
    spare = block.idle and not block.single and pod.request is not None and not reported
    if block.node == host.name and not spare:
        owner = own_block(pod) if block.segment == own_block(pod)[1] else owner_of(context, pod)
        if (block.tenant, block.segment) != owner and not block.idle:
            return f"is in block {block.text}, which serves {block.tenant}/{block.segment}"
        return Choice(owner, space, block.prefix, block, offset)
    if not block.node and block.by == host.name and block.free_at > context.state.now:
        return Choice(owner_of(context, pod), space, block.prefix, None, offset)
    usual_size = block.prefix.length == space.leaf.block_length
    if block.node and block.idle and (pod.request is not None or (reported and usual_size)):
        return _new_block(pod, context, space, value)._replace(victim=block)
    return f"is in block {block.text} of node {block.node}" if block.node else "is not free yet"


def _new_block(pod: Pod, context: Context, space: FreeSpace, value: int) -> Choice:
    """A choice of `value` in a block that the host does not have yet."""
    width = space.leaf.prefix.width
    if pod.request is not None:
        return Choice(own_block(pod), space, Prefix(width, value, width), None, 0)
    size = 1 << (width - space.leaf.block_length)
    prefix = Prefix(width, value & -size, space.leaf.block_length)
    return Choice(owner_of(context, pod), space, prefix, None, value - prefix.base)


def _block_at(context: Context, space: FreeSpace, value: int) -> Block | None:
    """The smallest block around `value` that is not free, if there is one."""
    width = space.leaf.prefix.width
    for length in range(width, -1, -1):
        size = 1 << (width - length)
        block = context.state.blocks.get(str(Prefix(width, value & -size, length)))
        if block is not None and block.taken:
            return block
    return None


def _is_withheld(block: Block, offset: int) -> bool:
    """Whether a pod that lost the address may still run with it."""
    return block.until is not None and block.until.get(offset) == WHILE_IT_RUNS


def _cools_for(host: Host, pod: Pod, block: Block, offset: int) -> bool:
    """Whether the pod's name released the address, and no other pod has it."""
    record = host.records.get(pod.key)
    return not block.used >> offset & 1 and any(
        cooling.block is block and cooling.offset == offset for cooling in (record.cooling if record else ())
    )


def _why_taken(context: Context, block: Block, offset: int) -> str:
    """Who has the address. The words are the same as long as the same pod has it."""
    if not block.used >> offset & 1:
        return "is cooling down"
    host = context.state.hosts.get(block.node)
    for record in host.records.values() if host else ():
        if any(held.block is block and held.offset == offset for held in record.held):
            return f"is {record.key}'s"
    return "is in use"


def _kept(context: Context, pod: Pod) -> Iterator[tuple[Host, Cooling]]:
    """Yields the addresses that are kept for the pod's name, each with its node."""
    state = context.state
    for node in sorted(state.kept.get(pod.key, ())):
        donor = state.hosts[node]
        yield from ((donor, cooling) for cooling in donor.records[pod.key].cooling if cooling.kept)


def _kept_address(
    context: Context, pod: Pod, host: Host, spaces: tuple[FreeSpace, ...], value: int | None = None
) -> Choice | None:
    """An address that a node of the group keeps for the pod's name. An address on another node is taken with
    its block, so that block must have no other address."""
    for donor, cooling in _kept(context, pod):
        block, offset = cooling.block, cooling.offset
        kept_value = cooling.numeric[1]
        space = next((space for space in spaces if space.leaf.number == block.leaf), None)
        if space is None or value not in (None, kept_value):
            continue
        reserved = context.state.reserved_in(block.prefix.width).holds(kept_value, kept_value + 1)
        if reserved or block.used >> offset & 1:
            continue
        owner: Owner = (block.tenant, block.segment)
        if block.node == host.name and donor is host:
            return Choice(owner, space, block.prefix, block, offset)
        if block.prefix.size == 1 and donor is not host and block.node in ("", donor.name):
            return Choice(own_block(pod), space, block.prefix, None, offset, donor=(donor, cooling))
    return None


def _own_address(context: Context, pod: Pod, spaces: Iterable[FreeSpace]) -> Choice | None:
    """A new block of one address, which can follow the pod to other nodes: in a whole block that is broken up
    already, or else in the lowest free one, if the limit allows it."""
    pinned = context.index.pinned
    for space in spaces:
        leaf, width = space.leaf, space.leaf.prefix.width
        reserved, size = context.state.reserved_in(width), 1 << (width - leaf.block_length)
        broken = sorted(base for base, count in pinned.broken.get(leaf.number, {}).items() if count < size)
        inside = (space.free.lowest_in(base, base + size, reserved) for base in broken)
        value = next((value for value in inside if value is not None), None)
        if value is None and (whole_block(leaf, 0) is None or not pinned.all_broken(leaf)):
            value = space.free.lowest(1, reserved)
        if value is not None:
            return Choice(own_block(pod), space, Prefix(width, value, width), None, 0)
    return None
