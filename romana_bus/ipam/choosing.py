"""Which address a pod gets. Nothing is changed by choosing: a choice is made for each address family,
and only when there is one for all of them is any of it carried out."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import V4, V6, Prefix
from romana_bus.ipam.blocks import ALL, Block
from romana_bus.ipam.stocking import next_block, worth

if TYPE_CHECKING:
    from romana_bus.ipam.desk import Desk
    from romana_bus.ipam.entities import Host, Pod, Record
    from romana_bus.ipam.spaces import Space

Owner = tuple[str, str]

_age = attrgetter("order")


class Choice(NamedTuple):
    """An address of `prefix`, which is to be `owner`'s. `block`: None where the host does not have it
    yet. `victim`: another host's spare block that makes room. `offset`: -1 for the lowest free address."""

    owner: Owner
    space: Space
    prefix: Prefix
    block: Block | None
    offset: int = -1
    victim: Block | None = None

    @property
    def adopted(self) -> bool:
        return self.offset >= 0


def owner_of(desk: Desk, pod: Pod) -> Owner:
    whose = desk.state.settings.block_owner
    if whose == "host":
        return ALL, ALL
    return pod.tenant, pod.segment if whose == "segment" else ALL


def families_for(desk: Desk, pod: Pod, host: Host) -> tuple[tuple[Space, ...], ...]:
    """For each address family that the pod's networks offer on this host: the groups that its address
    can come from, in order of preference."""
    layout = desk.layout
    order = layout.topology.order(pod.tenant)
    known = layout.families.get((order, host.leaves))
    if known is None:
        leaves = [host.leaves[at] for at in order]
        spaces = [layout.spaces[leaf] for leaf in leaves if leaf >= 0]
        split = [tuple(s for s in spaces if s.leaf.prefix.width == width) for width in (V4, V6)]
        known = layout.families[order, host.leaves] = tuple(offering for offering in split if offering)
    return known


def choose(desk: Desk, pod: Pod, host: Host) -> list[Choice]:
    """One choice for each family that the pod's networks offer on this host; none at all where one of
    them has no address left. An address that the pod already reports comes before any other."""
    owner = owner_of(desk, pod)
    ips = pod.reported
    choices = []
    for offering in families_for(desk, pod, host):
        choice = _reported(desk, pod, host, owner, offering, ips) if ips else None
        for space in offering:
            if choice is not None:
                break
            choice = _lowest(desk, host, owner, space)
        if choice is None:
            return []
        choices.append(choice)
    return choices


def _lowest(desk: Desk, host: Host, owner: Owner, space: Space) -> Choice | None:
    """The owner's oldest block with room; else an empty one of the host; else a block that is nobody's; else
    one that another host holds in spare."""
    number = space.leaf.number
    chain = host.chains.get((number, *owner))
    if chain is not None and (block := chain.first()):
        return Choice(owner, space, block.prefix, block)
    spare = [block for block in host.idle.values() if block.leaf == number and block.room]
    if spare:
        block = min(spare, key=worth)
        return Choice(owner, space, block.prefix, block)
    if prefix := next_block(desk, space):
        return Choice(owner, space, prefix, None)
    length = space.leaf.block_length
    others = [block for block in space.idle.values()
              if block.room and block.node != host.name and block.prefix.length == length]  # fmt: skip
    if not others:
        return None
    victim = max(others, key=_age)
    return Choice(owner, space, victim.prefix, None, victim=victim)


def _reported(
    desk: Desk, pod: Pod, host: Host, owner: Owner, spaces: tuple[Space, ...], ips: list[tuple[int, int]]
) -> Choice | None:
    record = host.records.get(pod.key)
    for space in spaces:
        inside = space.leaf.prefix
        for width, value in ips:
            if width == inside.width and inside.base <= value < inside.end:
                choice = _exactly(desk, host, owner, space, value, record)
                if choice is not None:
                    return choice
    return None


def _exactly(
    desk: Desk, host: Host, owner: Owner, space: Space, value: int, record: Record | None
) -> Choice | None:
    """`value`, if nobody has it and its block is this owner's or nobody's. Reserved or not: a pod lives
    there. One that still cools goes back to the pod name that gave it up."""
    own = next((block for block in host.blocks.values() if _holds(block, space, value)), None)
    block: Block | None
    if own is not None:
        if (own.tenant, own.segment) != owner and not own.idle:
            return None
        prefix, block = own.prefix, own
    else:
        prefix = _aligned(space, value)
        block = desk.state.blocks.get(str(prefix))
        free = space.free.holds(prefix.base, prefix.end)
        if not free and not (block is not None and not block.node and block.taken and block.by == host.name):
            return None
    offset = value - prefix.base
    if block is not None and (block.used | block.cool) >> offset & 1 and not _cools(record, block, offset):
        return None
    return Choice(owner, space, prefix, own, offset)


def _holds(block: Block, space: Space, value: int) -> bool:
    return block.leaf == space.leaf.number and block.prefix.base <= value < block.prefix.end


def _aligned(space: Space, value: int) -> Prefix:
    leaf = space.leaf
    size = 1 << (leaf.prefix.width - leaf.block_length)
    return Prefix(leaf.prefix.width, value & -size, leaf.block_length)


def _cools(record: Record | None, block: Block, offset: int) -> bool:
    return not block.used >> offset & 1 and any(
        cooling.block is block and cooling.offset == offset for cooling in (record.cooling if record else ())
    )
