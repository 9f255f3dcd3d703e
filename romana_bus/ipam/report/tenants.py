"""Tenants, which are namespaces: the addresses that their pods have, and those that are left for them."""

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
    """`pods`: its pods with an address. `used`, `cooling`: its addresses. `waiting`: its pods without an
    address. `blocks`: the blocks that serve it alone. `networks`: those that it may use, in order. `usage`:
    family -> the usage of these networks, by all tenants that may use them."""

    tenant: str
    pods: int = 0
    used: int = 0
    cooling: int = 0
    waiting: int = 0
    blocks: int = 0
    networks: tuple[str, ...] = ()
    usage: dict[str, Usage] = msgspec.field(default_factory=dict, name="rooms")


def tenants(state: State, known: Iterable[NetworkView] | None = None) -> tuple[TenantView, ...]:
    """The tenants that have pods, addresses or blocks, or a network for them; by name."""
    views = tuple(networks(state) if known is None else known)
    views_by_name = {name: TenantView(tenant=name) for view in views for name in view.tenants}

    def of(name: str) -> TenantView:
        return views_by_name.get(name) or views_by_name.setdefault(name, TenantView(tenant=name))

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
    for name, tenant in views_by_name.items():
        order = state.topology.order(name)
        if order not in usages:
            usages[order] = _usage(state, order, views)
        tenant.networks, tenant.usage = tuple(views[place].network for place in order), usages[order]
    return tuple(tenant for _, tenant in sorted(views_by_name.items()))


def _usage(state: State, order: tuple[int, ...], views: tuple[NetworkView, ...]) -> dict[str, Usage]:
    """Family -> the usage of the networks in these places of the topology."""
    usages: dict[str, list[Usage]] = {}
    for place in order:
        family = FAMILIES[state.topology.networks[place].prefix.width]
        usages.setdefault(family, []).append(views[place].usable)
    return {family: total(usages[family]) for family in FAMILIES.values() if family in usages}
