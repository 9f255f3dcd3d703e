"""The way that a packet takes, hop by hop, asked of the kernels that forward it. Blocking.

Each namespace is asked which route it has for the destination; its next hop's address says which
namespace comes next. So it shows also where a way ends that leads nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.errors import Failed
from romana_bus.lab.inspect import names
from romana_bus.lab.machine import netns

if TYPE_CHECKING:
    from romana_bus.lab.inspect.names import End
    from romana_bus.lab.machine.directory import Place

#: More hops than any way in a lab has.
_LONGEST = 12


class Hop(NamedTuple):
    """`at`: who decides; `route`: by which route; `via`: the next hop; '' where it is on the link."""

    at: str
    route: str
    via: str
    link: str


def trace(place: Place, source: End, address: str) -> tuple[list[Hop], str]:
    """The hops, and who gets it; '' where nobody does."""
    everyone = names.ends(place)
    by_netns = {end.netns: end for end in everyone if end.kind != names.POD} | {source.netns: source}
    owners = {one: end for end in reversed(everyone) for one in end.addresses}
    here, came_by = source, ""
    hops: list[Hop] = []
    been: set[tuple[str, str]] = set()
    for _ in range(_LONGEST):
        if address in here.addresses:
            return hops, here.short
        route = _route(here.netns, address, source, came_by)
        if route is None:
            return [*hops, Hop(here.short, "no route", "", "")], ""
        via, link = str(route.get("gateway", "")), str(route["dev"])
        hops.append(Hop(here.short, _matched(here.netns, address), via, link))
        there = _next(place, here, owners, via or address)
        came_by = _entry(there, here) if there else ""
        if there is None or there.netns == here.netns or (there.netns, came_by) in been:
            return hops, ""
        been.add((there.netns, came_by))
        here = by_netns.get(there.netns, there)
    return hops, ""


def _next(place: Place, here: End, owners: dict[str, End], address: str) -> End | None:
    """A pod's gateway is the node that it is on, whatever address it has there."""
    if here.kind == names.POD and address not in owners:
        return owners.get(place.spec.node(here.node).addresses[0])
    return owners.get(address)


def _entry(there: End, here: End) -> str:
    """The link by which packets from `here` come in; '' where that is not known, or does not matter."""
    if there.kind == names.ROUTER:
        return here.zone
    return "eth0" if there.kind == names.NODE and here.kind != names.POD else ""


def _route(namespace: str, address: str, source: End, came_by: str) -> dict[str, Any] | None:
    """As the kernel decides for this packet."""
    asked = ["route", "get", address]
    own = next((one for one in source.addresses if (":" in one) == (":" in address)), "")
    if came_by and own:
        asked += ["from", own, "iif", came_by]
    try:
        found = netns.asked(namespace, *asked)
    except Failed:
        return None
    return found[0] if found and "dev" in found[0] and found[0].get("type") != "unreachable" else None


def _matched(namespace: str, address: str) -> str:
    """The route itself: `10.20.0.0/29 proto 82`."""
    try:
        found = netns.asked(namespace, "route", "get", "fibmatch", address)
    except Failed:
        return ""
    if not found:
        return ""
    protocol = str(found[0].get("protocol", ""))
    return f"{found[0].get('dst', '')}{f' proto {protocol}' if protocol not in ('', 'boot') else ''}"
