"""The default topology, for a cluster without a document: one network with a group for each zone.

A zone's slot is stored (`GroupOpened`), so the order in which zones appeared does not matter later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events.settings import SLOT_BITS
from romana_bus.inet import Prefix
from romana_bus.ipam.topology.networks import Network, Topology, build_network
from romana_bus.ipam.topology.tree import Group

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.events import GroupOpened

NETWORK = "default"
#: The group of nodes without the zone label. No label's value has a space.
NO_ZONE = "no zone"


def slots(prefix: Prefix) -> list[Prefix]:
    """The equal slots that the default network is split into."""
    length = prefix.length + SLOT_BITS
    step = 1 << (prefix.width - length)
    return [Prefix(prefix.width, prefix.base + number * step, length) for number in range(1 << SLOT_BITS)]


def opened(groups: Iterable[GroupOpened], prefix: Prefix) -> dict[str, GroupOpened]:
    """Slot -> the group in it. Groups of an earlier default network are left out."""
    known = {str(slot) for slot in slots(prefix)}
    return {event.prefix: event for event in groups if event.network == NETWORK and event.prefix in known}


def vacant(prefix: Prefix, groups: Iterable[GroupOpened]) -> list[Prefix]:
    """Returns the slots that belong to no group."""
    taken = opened(groups, prefix)
    return [slot for slot in slots(prefix) if str(slot) not in taken]


def default_topology(prefix: Prefix, block_length: int, groups: Iterable[GroupOpened]) -> Topology:
    """Builds the default network. A slot that belongs to none of `groups` is closed."""
    taken = opened(groups, prefix)
    parts = []
    for number, slot in enumerate(slots(prefix)):
        if event := taken.get(str(slot)):
            needs = tuple(event.assignment.items())
            parts.append(Group(event.group, event.group, slot, needs))
        else:
            parts.append(Group("", str(number), slot, closed=True))
    tree = Group("/", "/", prefix, groups=tuple(parts), whole=True)
    return Topology([build_network(0, Network(NETWORK, prefix, block_length), tree)])
