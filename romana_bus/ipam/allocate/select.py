"""Selects the address that a pod gets, one for each address family. Changes nothing."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from romana_bus.ipam.allocate.choice import Choice, Owner, families_for, owner_of
from romana_bus.ipam.allocate.limits import Unmet
from romana_bus.ipam.allocate.pinned import choice_of_address, pinned_choice, why_not_available
from romana_bus.ipam.allocate.spare_blocks import next_block, spare_order
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
    """One choice for each family that the pod's networks have on this host; none where a family has no
    address left. First comes an address that the pod reports or has just had, then the one that it
    requests."""
    owner, request = owner_of(context, pod), pod.details.request
    record = host.records.get(pod.key)
    cools = record is not None and record.rest.cooling
    ips = pod.reported or (_had(context, pod, host, record) if record and cools else ())
    if request is not None and why_not_available(context, pod, host):
        return []
    choices = []
    for spaces in families_for(context, pod, host):
        choice = _reported(context, pod, host, spaces, ips) if ips else None
        if choice is None and request is not None:
            pinned = pinned_choice(context, pod, host, spaces, set())
            if isinstance(pinned, Unmet):
                return []
            if isinstance(pinned, Choice):
                choice = pinned
            else:
                spaces = pinned
        for space in spaces:
            if choice is not None:
                break
            choice = _lowest(context, host, owner, space)
        if choice is None:
            return []
        choices.append(choice)
    return choices


def _lowest(context: Context, host: Host, owner: Owner, space: FreeSpace) -> Choice | None:
    """The lowest free address of the owner's oldest block that has one; else of a spare block of the host;
    else of a free block; else of a spare block of another host."""
    number = space.leaf.number
    chain = host.chains.get(chain_key(number, *owner))
    if chain is not None and (block := chain.first()):
        return Choice(owner, space, block.prefix, block)
    spare = [
        block
        for block in host.idle.values()
        if block.leaf == number and block.has_free_address and not block.single
    ]
    if spare:
        block = min(spare, key=spare_order)
        return Choice(owner, space, block.prefix, block)
    if prefix := next_block(context, space):
        return Choice(owner, space, prefix, None)
    length = space.leaf.block_length
    others = [
        block
        for block in space.idle.values()
        if block.has_free_address and block.node != host.name and block.prefix.length == length
    ]
    if not others:
        return None
    victim = max(others, key=_age)
    return Choice(owner, space, victim.prefix, None, victim=victim)


def _had(context: Context, pod: Pod, host: Host, record: Record) -> list[tuple[int, int]]:
    """The addresses that this very pod had last and that still cool down. It was taken for gone by mistake,
    or another pod of its name had the sandbox: it may still run with them."""
    ended = context.state.ended_for(host.name, pod)
    # A denial has the uid of the pod that is denied, and the addresses of the one before it.
    same_pod = record.block is None and record.ident == pod.ident and not record.rest.code
    own = [
        old
        for old in record.cooling
        if (old.ident == pod.ident if old.ident else same_pod) and old.address not in ended
    ]
    last = max((old.until for old in own), default=0)
    return [old.numeric for old in own if old.until == last]


def _reported(
    context: Context, pod: Pod, host: Host, spaces: tuple[FreeSpace, ...], ips: Iterable[tuple[int, int]]
) -> Choice | None:
    """A choice of an address that the pod reports, even if it is reserved."""
    for space in spaces:
        inside = space.leaf.prefix
        for width, value in ips:
            if inside.includes(width, value):
                choice = choice_of_address(context, pod, host, space, value, reported=True)
                if isinstance(choice, Choice):
                    return choice._replace(adopted=True)
    return None
