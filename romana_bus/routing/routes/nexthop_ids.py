"""Numbers of nexthops: adopted from the kernel where it has them, else the lowest free ones.

A host keeps its number for as long as it has routes. After a restart it is found again in the kernel: by
the address that the nexthop leads to, and where that is no host's any more, by the routes that point at it.
So a host whose address changed while nobody looked is still one replaced nexthop.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.installed import Kernel
    from romana_bus.routing.routes.state import State, Via

#: Nexthop objects of ours: about a million, far from the small numbers that people choose.
OBJECTS = range(0x5200_0000, 0x5210_0000)
#: Where the kernel has no such objects: numbers that no object can have, which never leave this process.
GATEWAYS = range(1 << 32, (1 << 32) + len(OBJECTS))


def is_object(number: int) -> bool:
    return number < GATEWAYS.start


def free(state: State, kernel: Kernel) -> Iterable[int]:
    """Numbers that nobody has, lowest first. What this very delta gives up is not among them: routes that
    are still to be removed point at it."""
    for number in OBJECTS if kernel.objects else GATEWAYS:
        if number not in state.vias and number not in kernel.nexthops and number not in kernel.foreign:
            yield number


def adopt(state: State, kernel: Kernel, due: Mapping[tuple[str, int], tuple[Via, list[Prefix]]]) -> None:
    """Give hosts the numbers that the kernel knows them by. `due`: for each (host, width), where it should
    lead, and which routes should lead there. Of two hosts with one address, each has that of its routes."""
    seen = 2 if kernel.objects else 3  # an object's interface can be changed
    alike: dict[tuple[int, ...], list[int]] = {}
    for has, leads in sorted(kernel.nexthops.items()):
        if is_object(has) == kernel.objects:
            alike.setdefault(leads[:seen], []).append(has)
    taken: set[int] = set()

    def by_both(via: Via, routes: list[Prefix]) -> int | None:
        return _pointed_at(kernel, routes, via[0], taken, alike.get(via[:seen], ()))

    def by_address(via: Via, _: list[Prefix]) -> int | None:
        return next((number for number in alike.get(via[:seen], ()) if number not in taken), None)

    def by_routes(via: Via, routes: list[Prefix]) -> int | None:
        if kernel.objects:
            return _pointed_at(kernel, routes, via[0], taken)
        return _parted(state, kernel, routes, via) if via in alike else None

    for choose in (by_both, by_address, by_routes):
        for (name, width), (via, routes) in due.items():
            if name not in state.ids[width] and (number := choose(via, routes)) is not None:
                state.ids[width][name] = number
                taken.add(number)


def _pointed_at(
    kernel: Kernel, routes: Iterable[Prefix], width: int, taken: set[int], among: Sequence[int] | None = None
) -> int | None:
    """The nexthop that most of these routes have in the kernel."""
    votes = Counter(kernel.routes[route] for route in routes if route in kernel.routes)
    for number, _ in sorted(votes.items(), key=lambda one: (-one[1], one[0])):
        via = kernel.nexthops.get(number)
        fits = is_object(number) if among is None else number in among
        if via and via[0] == width and fits and number not in taken:
            return number
    return None


def _parted(state: State, kernel: Kernel, routes: Iterable[Prefix], via: Via) -> int:
    """A number of its own for a gateway that is another host's too: the kernel knows the gateway alone, so
    nothing changes there."""
    number = next(iter(free(state, kernel)))
    kernel.nexthops[number] = via
    for route in routes:
        if (has := kernel.routes.get(route)) is not None and kernel.nexthops.get(has) == via:
            kernel.routes[route] = number
    return number
