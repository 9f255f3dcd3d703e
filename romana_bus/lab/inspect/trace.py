"""Traces the path of a packet, hop by hop, from the kernels' route lookups. Blocking.

Each namespace is asked for its route to the destination; the address of the next hop identifies the next
namespace. So the trace also shows where a path ends before the destination.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.errors import Failed
from romana_bus.lab.inspect import names
from romana_bus.lab.machine import rtnl
from romana_bus.netlink.constants import (
    BOOT,
    FIB_MATCH,
    STATIC,
)

if TYPE_CHECKING:
    from romana_bus.lab.inspect.names import End
    from romana_bus.lab.machine.directory import Lab
    from romana_bus.lab.machine.rtnl import Kernel

#: More hops than any path in a lab has: more of them are a loop.
_LONGEST = 12


#: Names of rtm_protocol in `ip route`; others are shown as numbers.
_PROTOCOLS = {2: "kernel", BOOT: "", STATIC: "static", 9: "ra"}


class _Route(NamedTuple):
    """`text`: destination and protocol, as in `10.20.0.0/29 proto 82`. `via`, `link`: as in Hop."""

    text: str
    via: str
    link: str


class Hop(NamedTuple):
    """`at`: the node, pod or router that forwards. `route`: the route that it uses. `via`: the next hop, or
    '' if the target is on-link."""

    at: str
    route: str
    via: str
    link: str


def trace(lab: Lab, source: End, address: str) -> tuple[list[Hop], str]:
    """The hops, and the name of the receiver; '' if the packet reaches none."""
    everyone = names.ends(lab)
    by_netns = {end.netns: end for end in everyone if end.kind != names.POD} | {source.netns: source}
    owners = {address: end for end in reversed(everyone) for address in end.addresses}
    here, came_by = source, ""
    hops: list[Hop] = []
    been: set[tuple[str, str]] = set()
    for _ in range(_LONGEST):
        if address in here.addresses:
            return hops, here.short
        route = _route(here.netns, address, source, came_by)
        if route is None:
            return [*hops, Hop(here.short, "no route", "", "")], ""
        hops.append(Hop(here.short, route.text, route.via, route.link))
        there = _next(lab, here, owners, route.via or address)
        came_by = _entry(there, here) if there else ""
        if there is None or there.netns == here.netns or (there.netns, came_by) in been:
            return hops, ""
        been.add((there.netns, came_by))
        here = by_netns.get(there.netns, there)
    return hops, ""


def _next(lab: Lab, here: End, owners: dict[str, End], address: str) -> End | None:
    """The end that gets the packet next; None if nobody has that address. A pod's gateway is its node,
    whatever the gateway's address."""
    if here.kind == names.POD and address not in owners:
        return owners.get(lab.spec.node(here.node).addresses[0])
    return owners.get(address)


def _entry(there: End, here: End) -> str:
    """The link of `there` on which packets from `here` arrive; '' if it is unknown or does not matter."""
    if there.kind == names.ROUTER:
        return here.zone
    return "eth0" if there.kind == names.NODE and here.kind != names.POD else ""


def _route(namespace: str, address: str, source: End, came_by: str) -> _Route | None:
    """The route that the kernel chooses for this packet; None if it has no route."""
    own = next((other for other in source.addresses if (":" in other) == (":" in address)), "")

    def ask(kernel: Kernel) -> _Route:
        packet = {"src": own, "iif": rtnl.index(kernel, came_by)} if came_by and own else {}
        (route,) = kernel.route("get", dst=address, **packet)
        link = kernel.get_links(route.get("RTA_OIF"))[0].get("IFLA_IFNAME")
        (matched,) = kernel.route("get", dst=address, flags=FIB_MATCH)
        protocol = _PROTOCOLS.get(matched["proto"], str(matched["proto"]))
        text = rtnl.destination(matched) + (f" proto {protocol}" if protocol else "")
        return _Route(text, route.get("RTA_GATEWAY") or "", link)

    try:
        return rtnl.within(namespace, ask)
    except Failed:
        return None
