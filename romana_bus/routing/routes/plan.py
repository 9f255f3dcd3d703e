"""Computes the delta between the desired and the actual routes.

An event touches one host, and only that host's routes are derived and compared again, so the cost does not
grow with the cluster. Everything is compared only after a new dump of the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from romana_bus.inet import V4, V6
from romana_bus.routing.routes.delta import Delta
from romana_bus.routing.routes.desired import derive, leading
from romana_bus.routing.routes.nexthop_ids import adopt

if TYPE_CHECKING:
    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.installed import Kernel
    from romana_bus.routing.routes.state import State, Via

K = TypeVar("K")
V = TypeVar("V")


def plan(state: State, kernel: Kernel) -> Delta:
    """The delta from the kernel's state to the desired one. Repeated, it stays the same until it is
    applied."""
    if kernel.fresh or not state.adopted or (state.unswept and state.known):
        _settle_numbers(state, kernel)
        derive(state, kernel)
        kernel.fresh = False
        return _full_delta(state, kernel)
    return _partial_delta(state, kernel, *derive(state, kernel))


def _settle_numbers(state: State, kernel: Kernel) -> None:
    """Adopt the kernel's nexthop numbers, once; later, drop those that somebody else has taken."""
    if not state.adopted:
        state.adopted = True
        if kernel.nexthops:
            adopt(state, kernel, _due(state, kernel))
    lost = kernel.foreign & state.vias.keys()
    for width in (V4, V6) if lost else ():
        for name in [name for name, number in state.ids[width].items() if number in lost]:
            state.vias.pop(state.ids[width].pop(name))
            state.touched[name] = None
    if lost:  # hosts that have routes get another number
        state.wanted = {route: number for route, number in state.wanted.items() if number not in lost}


def _due(state: State, kernel: Kernel) -> dict[tuple[str, int], tuple[Via, list[Prefix]]]:
    """(host, width) -> (next hop, routes), for hosts that have routes."""
    due = {}
    for name in sorted(state.hosts):
        vias, routes = leading(state, kernel, state.hosts[name])
        for width, via in vias.items():
            if of_family := [route for route in routes if route[0] == width]:
                due[name, width] = via, of_family
    return due


def _partial_delta(state: State, kernel: Kernel, routes: list[Prefix], numbers: list[int]) -> Delta:
    """The delta of these routes and nexthops only."""
    delta = Delta()
    for route in dict.fromkeys(routes):
        _route(delta, route, state.wanted.get(route), kernel.routes.get(route))
    for number in dict.fromkeys(numbers):
        _nexthop(delta, number, state.vias.get(number), kernel.nexthops.get(number))
    _diff_unreachable(delta, state, kernel)
    return delta


def _full_delta(state: State, kernel: Kernel) -> Delta:
    """The delta of everything."""
    delta = Delta()
    wanted, actual = state.wanted, kernel.routes
    vias, actual_vias = state.vias, kernel.nexthops
    state.unswept = not state.known
    if state.known:
        delta.removed = _surplus(wanted, kernel)
        delta.removed += [route for route in actual.items() if route[0] not in wanted]
        delta.misplaced, kernel.misplaced = kernel.misplaced, []
        delta.deleted = [number for number in actual_vias if number not in vias]
    delta.added = [route for route in wanted.items() if route[0] not in actual]
    delta.moved = [(route, wanted[route], actual[route]) for route in _differing(wanted, actual)]
    delta.created = [nexthop for nexthop in vias.items() if nexthop[0] not in actual_vias]
    delta.changed = [(number, vias[number]) for number in _differing(vias, actual_vias)]
    _diff_unreachable(delta, state, kernel)
    return delta


def _differing(wanted: dict[K, V], actual: dict[K, V]) -> list[K]:
    """The keys that are in both, with different values."""
    return [key for key, value in actual.items() if wanted.get(key, value) != value]


def _route(delta: Delta, route: Prefix, wanted: int | None, actual: int | None) -> None:
    if wanted == actual:
        return
    if actual is None and wanted is not None:
        delta.added.append((route, wanted))
    elif wanted is not None and actual is not None:
        delta.moved.append((route, wanted, actual))
    elif actual is not None:
        delta.removed.append((route, actual))


def _nexthop(delta: Delta, number: int, wanted: Via | None, actual: Via | None) -> None:
    if wanted == actual:
        return
    if wanted is None:
        delta.deleted.append(number)
    elif actual is None:
        delta.created.append((number, wanted))
    else:
        delta.changed.append((number, wanted))


def _diff_unreachable(delta: Delta, state: State, kernel: Kernel) -> None:
    delta.unreachable = sorted(state.unreachable - kernel.unreachable)
    if state.known:
        delta.reachable = sorted(kernel.unreachable - state.unreachable)


def _surplus(wanted: dict[Prefix, int], kernel: Kernel) -> list[tuple[Prefix, int]]:
    """The routes to remove where a prefix has several: the desired one stays, if it is among them."""
    surplus, kernel.surplus = kernel.surplus, []
    for index, (route, number) in enumerate(surplus):
        if wanted.get(route) == number:
            surplus[index] = (route, kernel.routes[route])
            kernel.routes[route] = number
    return surplus
