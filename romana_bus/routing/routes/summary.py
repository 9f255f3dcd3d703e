"""Counts of a node's routes, for reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.installed import Kernel
    from romana_bus.routing.routes.state import State


def standing(state: State, kernel: Kernel) -> dict[str, int]:
    """The counts by name. `blocks by default route`: blocks of hosts that are not on-link in the block's
    family. `blocks cut off`: such blocks inside a group of our own, whose unreachable route is more specific
    than the default route: the hosts of such a group should share a link. `routes refused`: see Guard."""
    on_link = off_link = not_on_link = cut_off = 0
    own = state.hosts.get(state.node)
    groups = [group for group in own.groups if group in state.unreachable] if own else []
    for name, host in state.hosts.items():
        if name == state.node:
            continue
        widths = {address[0] for address in host.addresses if kernel.links.get(address)}
        if widths:
            on_link += 1
        elif host.addresses:
            off_link += 1
        for block in host.blocks:
            if block[0] not in widths:
                not_on_link += 1
                cut_off += any(group.contains(block) for group in groups)
    return {
        "routes": len(kernel.routes),
        "nexthops": len(state.vias),
        "unreachable": len(kernel.unreachable),
        "hosts on link": on_link,
        "hosts off link": off_link,
        "blocks by default route": not_on_link - cut_off,
        "blocks cut off": cut_off,
        "routes refused": len(refused(state)),
    }


def refused(state: State) -> dict[Prefix, str]:
    """The prefixes to which the guard refuses a route, each with the reason, sorted."""
    return dict(sorted(entry for of_host in state.refused.values() for entry in of_host.items()))
