"""How the routes of a node stand, in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romana_bus.routing.routes.installed import Kernel
    from romana_bus.routing.routes.state import State


def standing(state: State, kernel: Kernel) -> dict[str, int]:
    """`blocks by default route`: those of hosts that are not on-link, or not in the block's family.
    `blocks cut off`: the ones of them inside a group of our own, whose `unreachable` comes before the
    default route: the hosts of such a group should share a link."""
    on_link = off_link = away = cut_off = 0
    own = state.hosts.get(state.node)
    groups = own.groups if own else ()
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
                away += 1
                cut_off += any(group.contains(block) for group in groups)
    return {
        "routes": len(kernel.routes),
        "nexthops": len(state.vias),
        "unreachable": len(kernel.unreachable),
        "hosts on link": on_link,
        "hosts off link": off_link,
        "blocks by default route": away - cut_off,
        "blocks cut off": cut_off,
    }
