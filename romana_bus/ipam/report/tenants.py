"""Tenants, which are namespaces: what their pods have, and what they may still get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.inet import V4, V6
from romana_bus.ipam.model.nodes import pod_order
from romana_bus.ipam.model.usage import Usage, total
from romana_bus.ipam.report.views import NetworkView, networks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.ipam.model.state import State

FAMILIES = {V4: "ipv4", V6: "ipv6"}


class TenantView(msgspec.Struct, kw_only=True):
    """`pods`, `used`, `cooling`: its pods with an address, the addresses that they use, and those that
    they gave back a moment ago. `blocks`: those that are its alone. `networks`: which it may use, in
    order. `usage`: family -> the usage of these networks, by all tenants that may use them."""

    tenant: str
    pods: int = 0
    used: int = 0
    cooling: int = 0
    waiting: int = 0
    blocks: int = 0
    networks: tuple[str, ...] = ()
    usage: dict[str, Usage] = msgspec.field(default_factory=dict, name="rooms")


def tenants(state: State, known: Iterable[NetworkView] | None = None) -> tuple[TenantView, ...]:
    """All that have pods, addresses or blocks, or that a network is for; by name."""
    views = tuple(networks(state) if known is None else known)
    found = {name: TenantView(tenant=name) for view in views for name in view.tenants}

    def of(name: str) -> TenantView:
        return found.get(name) or found.setdefault(name, TenantView(tenant=name))

    for host in state.hosts.values():
        for record in host.records.values():
            tenant = of(pod_order(record.key)[0])
            tenant.pods += bool(record.held)
            tenant.used += len(record.held)
            tenant.cooling += len(record.cooling)
            tenant.waiting += bool(record.code)
    for block in state.blocks.values():
        if block.node and block.claimed:
            of(block.tenant).blocks += 1
    usages: dict[tuple[int, ...], dict[str, Usage]] = {}
    for name, tenant in found.items():
        order = state.topology.order(name)
        if order not in usages:
            usages[order] = _usage(state, order, views)
        tenant.networks, tenant.usage = tuple(views[place].network for place in order), usages[order]
    return tuple(tenant for _, tenant in sorted(found.items()))


def _usage(state: State, order: tuple[int, ...], views: tuple[NetworkView, ...]) -> dict[str, Usage]:
    """Family -> the usage of the networks in these places of the topology."""
    usages: dict[str, list[Usage]] = {}
    for place in order:
        family = FAMILIES[state.topology.networks[place].prefix.width]
        usages.setdefault(family, []).append(views[place].usable)
    return {family: total(usages[family]) for family in FAMILIES.values() if family in usages}
