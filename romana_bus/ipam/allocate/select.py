"""Which address a pod gets. Nothing is changed by choosing: a choice is made for each address family,
and only when there is one for all of them is any of it carried out."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from romana_bus.ipam.allocate.offers import Choice, Owner, families_for, owner_of
from romana_bus.ipam.allocate.pinned import certain, exactly, not_offered
from romana_bus.ipam.allocate.spare_blocks import next_block, worth
from romana_bus.ipam.model.blocks import chain_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.free_space import FreeSpace
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod
    from romana_bus.ipam.model.records import Record

_age = attrgetter("order")


def choose(context: Context, pod: Pod, host: Host) -> list[Choice]:
    """One choice for each family that the pod's networks offer on this host; none where one of them has no
    address left. An address that the pod already reports, or has just had, comes before any
    other, then the one that it wishes for."""
    owner, wish = owner_of(context, pod), pod.asks.wish
    record = host.records.get(pod.key)
    cools = record is not None and record.rest.cooling
    ips = pod.reported or (_had(context, pod, host, record) if record and cools else ())
    if wish is not None and not_offered(context, pod, host):
        return []
    choices = []
    for offering in families_for(context, pod, host):
        choice = _reported(context, pod, host, offering, ips) if ips else None
        if choice is None and wish is not None:
            wished = certain(context, pod, host, offering)
            if isinstance(wished, str):
                return []
            choice = wished
        for space in offering:
            if choice is not None:
                break
            choice = _lowest(context, host, owner, space)
        if choice is None:
            return []
        choices.append(choice)
    return choices


def _lowest(context: Context, host: Host, owner: Owner, space: FreeSpace) -> Choice | None:
    """The owner's oldest block with room; else an empty one of the host; else a block that is nobody's; else
    one that another host holds in spare."""
    number = space.leaf.number
    chain = host.chains.get(chain_key(number, *owner))
    if chain is not None and (block := chain.first()):
        return Choice(owner, space, block.prefix, block)
    spare = [
        block for block in host.idle.values() if block.leaf == number and block.room and not block.single
    ]
    if spare:
        block = min(spare, key=worth)
        return Choice(owner, space, block.prefix, block)
    if prefix := next_block(context, space):
        return Choice(owner, space, prefix, None)
    length = space.leaf.block_length
    others = [block for block in space.idle.values()
              if block.room and block.node != host.name and block.prefix.length == length]  # fmt: skip
    if not others:
        return None
    victim = max(others, key=_age)
    return Choice(owner, space, victim.prefix, None, victim=victim)


def _had(context: Context, pod: Pod, host: Host, record: Record) -> list[tuple[int, int]]:
    """What this very pod was the last to have, if nobody else can have it yet: it was gone by mistake, or
    another one of its name had the sandbox, and it may run on with it."""
    ended = context.state.ended_for(host.name, pod)
    heir = record.block is None and record.ident == pod.ident
    own = [
        one
        for one in record.cooling
        if (one.ident == pod.ident if one.ident else heir) and one.address not in ended
    ]
    last = max((one.until for one in own), default=0)
    return [one.numeric for one in own if one.until == last]


def _reported(
    context: Context, pod: Pod, host: Host, spaces: tuple[FreeSpace, ...], ips: Iterable[tuple[int, int]]
) -> Choice | None:
    """Reserved or not: the pod lives there."""
    for space in spaces:
        inside = space.leaf.prefix
        for width, value in ips:
            if width == inside.width and inside.base <= value < inside.end:
                choice = exactly(context, pod, host, space, value, lives=True)
                if isinstance(choice, Choice):
                    return choice._replace(adopted=True)
    return None
