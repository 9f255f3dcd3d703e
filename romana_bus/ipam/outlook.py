"""How long the free addresses last, at the rate at which they went of late.

What counts is always what is free *there*, and how fast it goes *there*: a network runs out with the
groups that nodes are placed in (what is kept for groups to come is given to nobody); a node runs out
when its own blocks are full and its group has no whole block left; a tenant with the networks that it
may use. A pod needs an address of each family, so the family that ends first counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.inet import Prefix, parse_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.ipam.rate import Growth
    from romana_bus.ipam.tenants import TenantView
    from romana_bus.ipam.view import GroupView, HostView, NetworkView


class Outlook(msgspec.Struct, frozen=True):
    """`growth`: addresses an hour, net. `hours_left`: None where no end is in sight. Both None where too
    little is known."""

    growth: float | None = None
    hours_left: float | None = None


class Outlooks:
    """`growth`: None where nobody knows."""

    def __init__(self, networks: Iterable[NetworkView], growth: Growth | None) -> None:
        self.networks = tuple(networks)
        self.growth = growth
        self._groups = {
            (network.network, group.group): (group, parse_prefix(group.prefix))
            for network in self.networks
            for group in network.groups
            if group.leaf
        }

    def network(self, view: NetworkView) -> Outlook:
        return self._outlook(view.usable.free, parse_prefix(view.prefix))

    def group(self, view: GroupView) -> Outlook:
        return self._outlook(view.room.free, parse_prefix(view.prefix))

    def _outlook(self, free: int, prefix: Prefix) -> Outlook:
        if self.growth is None:
            return Outlook()
        net = self.growth.within(prefix)
        return Outlook(self.growth.per_hour(net), self.growth.left(free, net))

    def host(self, view: HostView) -> Outlook:
        """Whole blocks of its group are for others too: it cannot last longer than they do."""
        growth, total, ends = self.growth, 0, []
        if growth is None:
            return Outlook()
        for place in view.groups.items():
            if place not in self._groups:
                continue
            group, prefix = self._groups[place]
            net = growth.of_node(view.node, prefix)
            own = sum(block.room.fragmented for block in view.blocks if block.network == place[0])
            total += net
            if net > 0:
                ends.append(growth.left(own + group.room.free - group.room.fragmented, net))
                ends.append(self.group(group).hours_left)
        return Outlook(growth.per_hour(total), _first(ends))

    def tenant(self, view: TenantView) -> Outlook:
        if self.growth is None:
            return Outlook()
        ends = []
        for family in view.rooms:
            mine = [
                n
                for n in self.networks
                if n.network in view.networks and (":" in n.prefix) == (family == "ipv6")
            ]
            net = sum(self.growth.within(parse_prefix(network.prefix)) for network in mine)
            ends.append(self.growth.left(view.rooms[family].free, net))
        return Outlook(self.growth.per_hour(self.growth.of_tenant(view.tenant)), _first(ends))


def _first(ends: Iterable[float | None]) -> float | None:
    return min((end for end in ends if end is not None), default=None)
