"""Tenants, which are namespaces: what their pods have, and what they may still get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.inet import V4, V6
from romana_bus.ipam.model.nodes import pod_order
from romana_bus.ipam.report.usage import Room, total
from romana_bus.ipam.report.views import NetworkView, networks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.ipam.model.state import State

FAMILIES = {V4: "ipv4", V6: "ipv6"}


class TenantView(msgspec.Struct, kw_only=True):
    """`pods`, `used`, `cooling`: its pods with an address, the addresses that they use, and those that
    they gave back a moment ago. `blocks`: those that are its alone. `networks`: which it may use, in
    order; `rooms`: family -> what there is in them, for it and all others who may use them."""

    tenant: str
    pods: int = 0
    used: int = 0
    cooling: int = 0
    waiting: int = 0
    blocks: int = 0
    networks: tuple[str, ...] = ()
    rooms: dict[str, Room] = {}


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
    rooms: dict[tuple[int, ...], dict[str, Room]] = {}
    for name, tenant in found.items():
        order = state.topology.order(name)
        if order not in rooms:
            rooms[order] = _rooms(state, [views[at] for at in order])
        tenant.networks, tenant.rooms = tuple(views[at].network for at in order), rooms[order]
    return tuple(tenant for _, tenant in sorted(found.items()))


def _rooms(state: State, views: list[NetworkView]) -> dict[str, Room]:
    found = {}
    for width, family in FAMILIES.items():
        mine = [
            v for v in views if state.topology.networks[state.topology.place[v.network]].prefix.width == width
        ]
        if mine:
            found[family] = total(view.usable for view in mine)
    return found
