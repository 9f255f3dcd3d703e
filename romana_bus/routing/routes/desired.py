"""The desired routes and nexthops of each host that was touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.inet import V4, V6
from romana_bus.routing.routes.aggregate import aggregate
from romana_bus.routing.routes.nexthop_ids import free

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.installed import Kernel
    from romana_bus.routing.routes.state import Host, State, Via


def leading(state: State, kernel: Kernel, host: Host) -> tuple[dict[int, Via], tuple[Prefix, ...]]:
    """The next hop of the host in each family (its first on-link address), and the routes to it."""
    vias: dict[int, Via] = {}
    for address in host.addresses:
        link = kernel.links.get(address)
        if link:
            vias.setdefault(address[0], (*address, link))
    if not vias or host.name == state.node or not (routes := aggregate(owned(state, host))):
        return vias, ()
    if routes[0][0] in vias and routes[-1][0] in vias:  # they are sorted by family: so all of them
        return vias, routes
    return vias, tuple([route for route in routes if route[0] in vias])


def owned(state: State, host: Host) -> Iterable[Prefix]:
    """The blocks that the host owns, of those that it claims."""
    if not state.competing:
        return host.blocks
    return [block for block in host.blocks if state.owners[block] is host]


def derive(state: State, kernel: Kernel) -> tuple[list[Prefix], list[int]]:
    """Derive the desired state of the hosts that were touched; returns the routes and the nexthops that may
    have changed."""
    routes: list[Prefix] = []
    numbers: list[int] = []
    unused = iter(free(state, kernel))
    for name in state.touched:
        host = state.hosts.get(name)
        if name == state.node:
            state.unreachable = _unreachable(state, host)
        elif host is not None:
            _derive_host(state, kernel, host, unused, routes, numbers)
    state.touched.clear()
    return routes, numbers


def _unreachable(state: State, own: Host | None) -> set[Prefix]:
    """The prefixes of our own groups, and our blocks outside of them: packets to an unassigned address in
    them must not leave again over the default route."""
    if own is None:
        return set()
    outside = [block for block in owned(state, own) if not any(group.contains(block) for group in own.groups)]
    return {*own.groups, *aggregate(outside)}


def _derive_host(
    state: State,
    kernel: Kernel,
    host: Host,
    unused: Iterator[int],
    changed: list[Prefix],
    numbers: list[int],
) -> None:
    vias, routes = leading(state, kernel, host)
    if host.routes:
        _retract(state, host, routes, changed, numbers)
    host.routes, wanted = routes, state.wanted
    for width, of_family in _families(routes):
        number = _number(state, kernel, host.name, vias[width], unused, numbers)
        for route in of_family:
            if wanted.get(route) != number:
                wanted[route] = number
                changed.append(route)
    if not (routes or host.blocks or host.addresses or host.groups):
        del state.hosts[host.name]


def _families(routes: tuple[Prefix, ...]) -> Iterable[tuple[int, tuple[Prefix, ...]]]:
    """Sorted routes, split by family."""
    if not routes:
        return ()
    if routes[0][0] == routes[-1][0]:
        return ((routes[0][0], routes),)
    return [(width, tuple([route for route in routes if route[0] == width])) for width in (V4, V6)]


def _retract(
    state: State, host: Host, routes: tuple[Prefix, ...], changed: list[Prefix], numbers: list[int]
) -> None:
    """Drop the host's former routes that are not among `routes`, and the nexthops that no route needs."""
    dropped = set(host.routes).difference(routes)
    for route in sorted(dropped):
        number = state.ids[route[0]].get(host.name)
        if number is not None and state.wanted.get(route) == number:
            del state.wanted[route]
            changed.append(route)
    for width in {route[0] for route in dropped} - {route[0] for route in routes}:
        _free_number(state, host.name, width, numbers)


def _number(
    state: State, kernel: Kernel, name: str, via: Via, unused: Iterator[int], numbers: list[int]
) -> int:
    """The number of the host's nexthop, whose desired gateway becomes `via`."""
    ids = state.ids[via[0]]
    number = ids.get(name)
    if number is not None and not kernel.objects and state.vias.get(number, via) != via:
        # Without nexthop objects a gateway cannot be changed: the routes move to another number.
        _free_number(state, name, via[0], numbers)
        number = None
    if number is None:
        number = ids[name] = next(unused)
    if state.vias.get(number) != via:
        state.vias[number] = via
        numbers.append(number)
    return number


def _free_number(state: State, name: str, width: int, numbers: list[int]) -> None:
    number = state.ids[width].pop(name, None)
    if number is not None:  # None: somebody else took the id
        state.vias.pop(number, None)
        numbers.append(number)
