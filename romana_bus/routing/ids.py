"""Numbers of nexthops: adopted from the kernel where it has them, else the lowest free ones.

A host keeps its number for as long as it has routes. After a restart it is found again in the kernel: by
the address that the nexthop leads to, and where that is no host's any more, by the routes that point at it.
So a host whose address changed while nobody looked is still one replaced nexthop.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

    from romana_bus.inet import Prefix
    from romana_bus.routing.kernel import Kernel
    from romana_bus.routing.state import State, Via

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
    lead, and which routes should lead there."""
    seen = 2 if kernel.objects else 3  # an object's interface can be changed
    spare = defaultdict[tuple[int, ...], set[int]](set)  # by where they lead
    for number, via in kernel.nexthops.items():
        if is_object(number) == kernel.objects:
            spare[via[:seen]].add(number)
            spare[via[:1]].add(number)

    def give(name: str, width: int, number: int) -> None:
        state.ids[width][name] = number
        leads = kernel.nexthops[number]
        spare[leads[:seen]].discard(number)
        spare[leads[:1]].discard(number)

    left = list(due.items())
    for there, choose in (
        (seen, _pointed_at),  # hosts may share an address: each has what its routes point at
        (seen, _lowest),
        (1, _pointed_at),  # its address has changed
    ):
        if there == 1 and not kernel.objects:
            break
        unsettled, left = left, []
        for one in unsettled:
            (name, width), (via, routes) = one
            chosen = choose(kernel, routes, spare[via[:there]])
            if chosen is None:
                left.append(one)
            else:
                give(name, width, chosen)


def _pointed_at(kernel: Kernel, routes: Iterable[Prefix], spare: Set[int]) -> int | None:
    """The one of these that most of the routes have in the kernel."""
    votes = Counter(number for route in routes if (number := kernel.routes.get(route)) in spare)
    return min(votes, key=lambda number: (-votes[number], number), default=None)


def _lowest(_kernel: Kernel, _routes: Iterable[Prefix], spare: Set[int]) -> int | None:
    return min(spare, default=None)
