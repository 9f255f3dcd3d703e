"""Forecasts: how long the free addresses last if usage grows as it did recently.

A network is exhausted when the groups that nodes are placed in are (prefixes kept for later groups do not
count); a node, when its own blocks are full and its group has no whole block left; a tenant, when the
networks that it may use are. A pod needs an address of each family, so the family that is exhausted first
counts.
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


class Forecast(msgspec.Struct, frozen=True):
    """`growth`: net growth, in addresses an hour. `hours_left`: 0 where nothing is free, None where usage
    does not grow. Both are None where the log is too short."""

    growth: float | None = None
    hours_left: float | None = None


class Forecasts:
    """Forecasts for all networks. `growth`: None where the log is too short."""

    def __init__(self, networks: Iterable[NetworkView], growth: Growth | None) -> None:
        self.networks = tuple(networks)
        self.growth = growth
        self._groups = {
            (network.network, group.group): (group, parse_prefix(group.prefix))
            for network in self.networks
            for group in network.groups
            if group.leaf
        }

    def network(self, view: NetworkView) -> Forecast:
        return self._forecast(view.usable, parse_prefix(view.prefix))

    def group(self, view: GroupView) -> Forecast:
        return self._forecast(view.usage, parse_prefix(view.prefix))

    def _forecast(self, usage: Usage, prefix: Prefix) -> Forecast:
        if self.growth is None:
            return Forecast(None, _hours_left(None, usage.free, 0) if usage.size else None)
        net = self.growth.within(prefix)
        left = _hours_left(self.growth, usage.free, net) if usage.size else None
        return Forecast(self.growth.per_hour(net), left)

    def host(self, view: HostView) -> Forecast:
        """The whole blocks of its group are shared, so a host lasts no longer than its group."""
        growth, total, ends = self.growth, 0, []
        for network, path in view.groups.items():
            if (network, path) not in self._groups:
                continue
            group, prefix = self._groups[network, path]
            net = growth.of_node(view.node, prefix) if growth else 0
            own = sum(block.usage.fragmented for block in view.blocks if block.network == network)
            total += net
            ends.append(_hours_left(growth, own + group.usage.free - group.usage.fragmented, net))
            if net > 0:
                ends.append(self.group(group).hours_left)
        return Forecast(growth.per_hour(total) if growth else None, _first(ends))

    def tenant(self, view: TenantView) -> Forecast:
        ends = []
        for family in view.usage:
            prefixes = [
                parse_prefix(network.prefix)
                for network in self.networks
                if network.network in view.networks and (":" in network.prefix) == (family == "ipv6")
            ]
            net = sum(self.growth.within(prefix) for prefix in prefixes) if self.growth else 0
            ends.append(_hours_left(self.growth, view.usage[family].free, net))
        growth = self.growth.per_hour(self.growth.of_tenant(view.tenant)) if self.growth else None
        return Forecast(growth, _first(ends))


def _hours_left(growth: Growth | None, free: int, net: int) -> float | None:
    """Hours until nothing is free: 0 where that is so already, whether usage grows or not."""
    return 0.0 if free <= 0 else growth.left(free, net) if growth else None


def _first(ends: Iterable[float | None]) -> float | None:
    return min((end for end in ends if end is not None), default=None)
