"""The desired routes and nexthops of each host that was touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from romana_bus.inet import V4, V6
from romana_bus.routing.routes.aggregate import aggregate
from romana_bus.routing.routes.nexthop_ids import adopt, free

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.installed import Kernel
    from romana_bus.routing.routes.state import Host, State, Via

K = TypeVar("K")
V = TypeVar("V")


def leading(
    state: State, kernel: Kernel, host: Host
) -> tuple[dict[int, Via], tuple[Prefix, ...], dict[Prefix, str]]:
    """The next hop of the host in each family (its first on-link address), the routes to it, and the blocks
    that the guard refuses a route, each with the reason."""
    vias: dict[int, Via] = {}
    for address in host.addresses:
        link = kernel.links.get(address)
        if link:
            vias.setdefault(address[0], (*address, link))
    if not vias or host.name == state.node or not (routes := aggregate(blocks := owned(state, host))):
        return vias, (), {}
    if routes[0][0] not in vias or routes[-1][0] not in vias:  # they are sorted by family
        routes = tuple([route for route in routes if route[0] in vias])
    if not routes or kernel.guard.is_clear(routes):
        return vias, routes, {}
    refused = refusals(kernel, [block for block in blocks if block[0] in vias])
    permitted = [block for block in blocks if block[0] in vias and block not in refused]
    return vias, aggregate(permitted), refused


def refusals(kernel: Kernel, prefixes: Iterable[Prefix]) -> dict[Prefix, str]:
    """Those of the prefixes that the guard refuses, with the reason."""
    return {prefix: why for prefix in prefixes if (why := kernel.guard.refuses(prefix))}


def owned(state: State, host: Host) -> Iterable[Prefix]:
    """The blocks that the host owns, of those that it claims."""
    if not state.competing:
        return host.blocks
    return [block for block in host.blocks if state.owners[block] is host]


def derive(state: State, kernel: Kernel) -> None:
    """Derives the desired routes and nexthops from the fold and from what is known of the kernel, and notes
    what `plan` has to compare. It belongs to the observation: it is called once before each plan, and what
    the last pass could not apply is compared again after the next dump."""
    everything = kernel.fresh or not state.adopted or (state.unswept and state.known)
    if everything:
        _settle_numbers(state, kernel)
    routes, numbers = _derive_touched(state, kernel)
    if everything:
        state.unswept, kernel.fresh = not state.known, False
        _keep_desired(state, kernel)
        routes, numbers = _differing_routes(state, kernel), _differing_nexthops(state, kernel)
    elif not state.unswept:
        kernel.surplus, kernel.misplaced = [], []
    state.unsettled_routes, state.unsettled_nexthops = dict.fromkeys(routes), dict.fromkeys(numbers)


def _derive_touched(state: State, kernel: Kernel) -> tuple[list[Prefix], list[int]]:
    """Derives what the hosts that were touched should have; returns the routes and the nexthops that may
    have changed."""
    routes: list[Prefix] = []
    numbers: list[int] = []
    unused = iter(free(state, kernel))
    for name in state.touched:
        host = state.hosts.get(name)
        refused: dict[Prefix, str] = {}
        if name == state.node:
            state.unreachable, refused = _unreachable(state, kernel, host)
        elif host is not None:
            refused = _derive_host(state, kernel, host, unused, routes, numbers)
        if refused:
            state.refused[name] = refused
        else:
            state.refused.pop(name, None)
    state.touched.clear()
    return routes, numbers


def _settle_numbers(state: State, kernel: Kernel) -> None:
    """Adopt the kernel's nexthop numbers, once; later, drop those that somebody else has taken."""
    if not state.adopted:
        state.adopted = True
        if kernel.nexthops:
            adopt(state, kernel, _leading_of_all(state, kernel))
    lost = kernel.foreign & state.vias.keys()
    for width in (V4, V6) if lost else ():
        for name in [name for name, number in state.ids[width].items() if number in lost]:
            state.vias.pop(state.ids[width].pop(name))
            state.touched[name] = None
    if lost:  # hosts that have routes get another number
        state.wanted = {route: number for route, number in state.wanted.items() if number not in lost}


def _leading_of_all(state: State, kernel: Kernel) -> dict[tuple[str, int], tuple[Via, list[Prefix]]]:
    """(host, width) -> (next hop, routes), for hosts that have routes."""
    due = {}
    for name in sorted(state.hosts):
        vias, routes, _ = leading(state, kernel, state.hosts[name])
        for width, via in vias.items():
            if of_family := [route for route in routes if route[0] == width]:
                due[name, width] = via, of_family
    return due


def _differing_routes(state: State, kernel: Kernel) -> list[Prefix]:
    """The routes that differ from the kernel's. One that is not desired counts only if our node is known, or
    the guard refuses it."""
    wanted, actual = state.wanted, kernel.routes
    surplus = [
        route for route in actual if route not in wanted and (state.known or kernel.guard.refuses(route))
    ]
    missing = [route for route in wanted if route not in actual]
    return [*surplus, *missing, *_differing(wanted, actual)]


def _differing_nexthops(state: State, kernel: Kernel) -> list[int]:
    """The nexthops that differ from the kernel's, likewise."""
    wanted, actual = state.vias, kernel.nexthops
    surplus = [number for number in actual if number not in wanted] if state.known else []
    missing = [number for number in wanted if number not in actual]
    return [*surplus, *missing, *_differing(wanted, actual)]


def _differing(wanted: dict[K, V], actual: dict[K, V]) -> list[K]:
    """The keys that are in both, with different values."""
    return [key for key, value in actual.items() if wanted.get(key, value) != value]


def _keep_desired(state: State, kernel: Kernel) -> None:
    """Where the kernel has several routes to a prefix, the desired one counts as its route, and the other is
    in `surplus`."""
    for index, (route, number) in enumerate(kernel.surplus):
        if state.wanted.get(route) == number:
            kernel.surplus[index] = (route, kernel.routes[route])
            kernel.routes[route] = number


def _unreachable(state: State, kernel: Kernel, own: Host | None) -> tuple[set[Prefix], dict[Prefix, str]]:
    """The prefixes of our own groups, and our blocks outside of them: packets to an unassigned address in
    them must not leave again over the default route. And those of them that the guard refuses."""
    if own is None:
        return set(), {}
    refused = refusals(kernel, own.groups)
    groups = [group for group in own.groups if group not in refused]
    outside = [block for block in owned(state, own) if not any(group.contains(block) for group in groups)]
    refused |= refusals(kernel, outside)
    return {*groups, *aggregate(block for block in outside if block not in refused)}, refused


def _derive_host(
    state: State,
    kernel: Kernel,
    host: Host,
    unused: Iterator[int],
    changed: list[Prefix],
    numbers: list[int],
) -> dict[Prefix, str]:
    """Derive what leads to the host; returns the blocks that may have no route, each with the reason."""
    vias, routes, refused = leading(state, kernel, host)
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
    return refused


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
