"""What is wanted of each host that was touched: where its routes lead, and which they are."""

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
    """Where routes to the host lead in each family (its first address that is on-link), and the routes."""
    vias: dict[int, Via] = {}
    for address in host.addresses:
        link = kernel.links.get(address)
        if link:
            vias.setdefault(address[0], (*address, link))
    if not vias or host.name == state.node or not (routes := aggregate(owned(state, host))):
        return vias, ()
    if routes[0][0] in vias and routes[-1][0] in vias:  # in order: all of them
        return vias, routes
    return vias, tuple([route for route in routes if route[0] in vias])


def owned(state: State, host: Host) -> Iterable[Prefix]:
    """The blocks that it has, of those that it claims."""
    if not state.competing:
        return host.blocks
    return [block for block in host.blocks if state.owners[block] is host]


def derive(state: State, kernel: Kernel) -> tuple[list[Prefix], list[int]]:
    """Bring up to date what is wanted of the hosts that were touched; gives the routes and nexthops that
    may differ from before."""
    routes: list[Prefix] = []
    numbers: list[int] = []
    unused = iter(free(state, kernel))
    for name in state.touched:
        host = state.hosts.get(name)
        if name == state.node:
            state.unreachable = _barred(state, host)
        elif host is not None:
            _derive_host(state, kernel, host, unused, routes, numbers)
    state.touched.clear()
    return routes, numbers


def _barred(state: State, own: Host | None) -> set[Prefix]:
    """The group's own prefixes, where traffic to an address that nobody has must not leave again by the
    default route, and those of our blocks that lie outside of them all."""
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
    for width, mine in _families(routes):
        number = _number(state, kernel, host.name, vias[width], unused, numbers)
        for route in mine:
            if wanted.get(route) != number:
                wanted[route] = number
                changed.append(route)
    if not (routes or host.blocks or host.addresses or host.groups):
        del state.hosts[host.name]


def _families(routes: tuple[Prefix, ...]) -> Iterable[tuple[int, tuple[Prefix, ...]]]:
    """Parted by family; they are in order."""
    if not routes:
        return ()
    if routes[0][0] == routes[-1][0]:
        return ((routes[0][0], routes),)
    return [(width, tuple([route for route in routes if route[0] == width])) for width in (V4, V6)]


def _retract(
    state: State, host: Host, routes: tuple[Prefix, ...], changed: list[Prefix], numbers: list[int]
) -> None:
    """What of the host's former routes is not among these, and the nexthops that none of these needs."""
    gone = set(host.routes).difference(routes)
    for route in sorted(gone):
        number = state.ids[route[0]].get(host.name)
        if number is not None and state.wanted.get(route) == number:
            del state.wanted[route]
            changed.append(route)
    for width in {route[0] for route in gone} - {route[0] for route in routes}:
        _give_up(state, host.name, width, numbers)


def _number(
    state: State, kernel: Kernel, name: str, via: Via, unused: Iterator[int], numbers: list[int]
) -> int:
    """That of the host's nexthop, which leads where it should from now on."""
    ids = state.ids[via[0]]
    number = ids.get(name)
    if number is not None and not kernel.objects and state.vias.get(number, via) != via:
        # There is no object to be changed under its routes: they move to another number.
        _give_up(state, name, via[0], numbers)
        number = None
    if number is None:
        number = ids[name] = next(unused)
    if state.vias.get(number) != via:
        state.vias[number] = via
        numbers.append(number)
    return number


def _give_up(state: State, name: str, width: int, numbers: list[int]) -> None:
    number = state.ids[width].pop(name, None)
    if number is not None:  # else somebody else has taken it
        state.vias.pop(number, None)
        numbers.append(number)
