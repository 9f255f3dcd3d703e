"""Numbers of nexthops: adopted from the kernel if it has them, else the lowest free ones.

A host keeps its number as long as it has routes. After a restart its nexthop is found in the kernel by its
gateway; if no host has that address any more, by the routes that use it. So if a host's address changed while
the agent was down, that is still a change of one nexthop.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.installed import Kernel
    from romana_bus.routing.routes.state import State, Via

#: Ids of our nexthop objects: about a million, far from the small numbers that people choose.
OBJECTS = range(0x5200_0000, 0x5210_0000)
#: Numbers without nexthop objects: no object can have them, and they are only used in this process.
GATEWAYS = range(1 << 32, (1 << 32) + len(OBJECTS))


def is_object(number: int) -> bool:
    return number < GATEWAYS.start


def free(state: State, kernel: Kernel) -> Iterable[int]:
    """Free numbers, lowest first. A number that the current delta frees is not among them: routes that are
    still to be removed use it."""
    for number in OBJECTS if kernel.objects else GATEWAYS:
        if number not in state.vias and number not in kernel.nexthops and number not in kernel.foreign:
            yield number


def adopt(state: State, kernel: Kernel, due: Mapping[tuple[str, int], tuple[Via, list[Prefix]]]) -> None:
    """Give hosts the numbers of their nexthops in the kernel. `due`: (host, width) -> (desired next hop,
    desired routes). Of two hosts with the same address, each gets the nexthop that its routes use."""
    fields = 2 if kernel.objects else 3  # the interface of an object can be changed
    alike: dict[tuple[int, ...], list[int]] = {}
    for existing, gateway in sorted(kernel.nexthops.items()):
        if is_object(existing) == kernel.objects:
            alike.setdefault(gateway[:fields], []).append(existing)
    taken: set[int] = set()

    def by_both(via: Via, routes: list[Prefix]) -> int | None:
        return _most_used(kernel, routes, via[0], taken, alike.get(via[:fields], ()))

    def by_address(via: Via, _: list[Prefix]) -> int | None:
        return next((number for number in alike.get(via[:fields], ()) if number not in taken), None)

    def by_routes(via: Via, routes: list[Prefix]) -> int | None:
        if kernel.objects:
            return _most_used(kernel, routes, via[0], taken)
        return _split_gateway(state, kernel, routes, via) if via in alike else None

    for choose in (by_both, by_address, by_routes):
        for (name, width), (via, routes) in due.items():
            if name not in state.ids[width] and (number := choose(via, routes)) is not None:
                state.ids[width][name] = number
                taken.add(number)


def _most_used(
    kernel: Kernel, routes: Iterable[Prefix], width: int, taken: set[int], among: Sequence[int] | None = None
) -> int | None:
    """The nexthop that most of these routes use in the kernel."""
    uses = Counter(kernel.routes[route] for route in routes if route in kernel.routes)
    for number, _ in sorted(uses.items(), key=lambda entry: (-entry[1], entry[0])):
        via = kernel.nexthops.get(number)
        fits = is_object(number) if among is None else number in among
        if via and via[0] == width and fits and number not in taken:
            return number
    return None


def _split_gateway(state: State, kernel: Kernel, routes: Iterable[Prefix], via: Via) -> int:
    """A second number for a gateway that another host has too. The kernel knows only gateways, so nothing
    changes there."""
    number = next(iter(free(state, kernel)))
    kernel.nexthops[number] = via
    for route in routes:
        if (actual := kernel.routes.get(route)) is not None and kernel.nexthops.get(actual) == via:
            kernel.routes[route] = number
    return number
