"""From what is known and what the kernel has to the delta between them.

An event touches one host, and only that host's routes are derived and compared again: the cost does not
grow with the cluster. Everything is compared only when the kernel was dumped anew.
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
    """What has to be changed; derived again and again it is the same, until it was applied."""
    if kernel.fresh or not state.adopted or (state.unswept and state.known):
        _settle_numbers(state, kernel)
        derive(state, kernel)
        kernel.fresh = False
        return _wholly(state, kernel)
    return _partly(state, kernel, *derive(state, kernel))


def _settle_numbers(state: State, kernel: Kernel) -> None:
    """Adopt the kernel's numbers, once; later, give up those that somebody else has taken."""
    if not state.adopted:
        state.adopted = True
        if kernel.nexthops:
            adopt(state, kernel, _due(state, kernel))
    lost = kernel.foreign & state.vias.keys()
    for width in (V4, V6) if lost else ():
        for name in [name for name, number in state.ids[width].items() if number in lost]:
            state.vias.pop(state.ids[width].pop(name))
            state.touched[name] = None
    if lost:  # who has routes still gets another number for them
        state.wanted = {route: number for route, number in state.wanted.items() if number not in lost}


def _due(state: State, kernel: Kernel) -> dict[tuple[str, int], tuple[Via, list[Prefix]]]:
    """Where each (host, width) that has routes should lead, with those routes."""
    due = {}
    for name in sorted(state.hosts):
        vias, routes = leading(state, kernel, state.hosts[name])
        for width, via in vias.items():
            if mine := [route for route in routes if route[0] == width]:
                due[name, width] = via, mine
    return due


def _partly(state: State, kernel: Kernel, routes: list[Prefix], numbers: list[int]) -> Delta:
    """The delta, where only these may differ."""
    delta = Delta()
    for route in dict.fromkeys(routes):
        _route(delta, route, state.wanted.get(route), kernel.routes.get(route))
    for number in dict.fromkeys(numbers):
        _nexthop(delta, number, state.vias.get(number), kernel.nexthops.get(number))
    _bar(delta, state, kernel)
    return delta


def _wholly(state: State, kernel: Kernel) -> Delta:
    """The delta, everything compared."""
    delta = Delta()
    wanted, has = state.wanted, kernel.routes
    vias, leads = state.vias, kernel.nexthops
    state.unswept = not state.known
    if state.known:
        delta.removed = _surplus(wanted, kernel)
        delta.removed += [one for one in has.items() if one[0] not in wanted]
        delta.misplaced, kernel.misplaced = kernel.misplaced, []
        delta.deleted = [number for number in leads if number not in vias]
    delta.added = [one for one in wanted.items() if one[0] not in has]
    delta.moved = [(route, wanted[route], has[route]) for route in _differing(wanted, has)]
    delta.created = [one for one in vias.items() if one[0] not in leads]
    delta.changed = [(number, vias[number]) for number in _differing(vias, leads)]
    _bar(delta, state, kernel)
    return delta


def _differing(wanted: dict[K, V], has: dict[K, V]) -> list[K]:
    """What is in both, but not the same."""
    return [key for key, value in has.items() if wanted.get(key, value) != value]


def _route(delta: Delta, route: Prefix, wanted: int | None, has: int | None) -> None:
    if wanted == has:
        return
    if has is None and wanted is not None:
        delta.added.append((route, wanted))
    elif wanted is not None and has is not None:
        delta.moved.append((route, wanted, has))
    elif has is not None:
        delta.removed.append((route, has))


def _nexthop(delta: Delta, number: int, wanted: Via | None, has: Via | None) -> None:
    if wanted == has:
        return
    if wanted is None:
        delta.deleted.append(number)
    elif has is None:
        delta.created.append((number, wanted))
    else:
        delta.changed.append((number, wanted))


def _bar(delta: Delta, state: State, kernel: Kernel) -> None:
    delta.unreachable = sorted(state.unreachable - kernel.unreachable)
    if state.known:
        delta.unbarred = sorted(kernel.unreachable - state.unreachable)


def _surplus(wanted: dict[Prefix, int], kernel: Kernel) -> list[tuple[Prefix, int]]:
    """What is to go of several routes to one prefix: the wanted one stays, if it is among them."""
    surplus, kernel.surplus = kernel.surplus, []
    for at, (route, number) in enumerate(surplus):
        if wanted.get(route) == number:
            surplus[at] = (route, kernel.routes[route])
            kernel.routes[route] = number
    return surplus
