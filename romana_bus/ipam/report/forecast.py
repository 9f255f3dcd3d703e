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

    from romana_bus.ipam.model.usage import Usage
    from romana_bus.ipam.report.growth import Growth
    from romana_bus.ipam.report.tenants import TenantView
    from romana_bus.ipam.report.views import GroupView, HostView, NetworkView


class Outlook(msgspec.Struct, frozen=True):
    """`growth`: addresses an hour, net. `hours_left`: 0 where nothing is free, None where no end is in
    sight. Both None where too little is known."""

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
        return self._outlook(view.usable, parse_prefix(view.prefix))

    def group(self, view: GroupView) -> Outlook:
        return self._outlook(view.usage, parse_prefix(view.prefix))

    def _outlook(self, usage: Usage, prefix: Prefix) -> Outlook:
        if self.growth is None:
            return Outlook(None, _left(None, usage.free, 0) if usage.size else None)
        net = self.growth.within(prefix)
        return Outlook(self.growth.per_hour(net), _left(self.growth, usage.free, net) if usage.size else None)

    def host(self, view: HostView) -> Outlook:
        """Whole blocks of its group are for others too: it cannot last longer than they do."""
        growth, total, ends = self.growth, 0, []
        for place in view.groups.items():
            if place not in self._groups:
                continue
            group, prefix = self._groups[place]
            net = growth.of_node(view.node, prefix) if growth else 0
            own = sum(block.usage.fragmented for block in view.blocks if block.network == place[0])
            total += net
            ends.append(_left(growth, own + group.usage.free - group.usage.fragmented, net))
            if net > 0:
                ends.append(self.group(group).hours_left)
        return Outlook(growth.per_hour(total) if growth else None, _first(ends))

    def tenant(self, view: TenantView) -> Outlook:
        ends = []
        for family in view.usage:
            mine = [
                parse_prefix(network.prefix)
                for network in self.networks
                if network.network in view.networks and (":" in network.prefix) == (family == "ipv6")
            ]
            net = sum(self.growth.within(prefix) for prefix in mine) if self.growth else 0
            ends.append(_left(self.growth, view.usage[family].free, net))
        grown = self.growth.per_hour(self.growth.of_tenant(view.tenant)) if self.growth else None
        return Outlook(grown, _first(ends))


def _left(growth: Growth | None, free: int, net: int) -> float | None:
    """What is full is full, whether it grew or not."""
    return 0.0 if free <= 0 else growth.left(free, net) if growth else None


def _first(ends: Iterable[float | None]) -> float | None:
    return min((end for end in ends if end is not None), default=None)
