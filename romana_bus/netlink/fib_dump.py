"""Reads dumps of the kernel's routes and nexthops into a Kernel."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from romana_bus.netlink import nexthops, routes
from romana_bus.routing.routes.nexthop_ids import GATEWAYS, OBJECTS, is_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.inet import Prefix
    from romana_bus.routing import Kernel
    from romana_bus.routing.routes.state import Via


def read_dump(kernel: Kernel, dumped: list[list[bytes]]) -> Iterator[None]:
    """Parse the dumps of the nexthops and of the routes of each family, in steps; set `kernel` at the end."""
    vias: dict[int, Via] = {}
    foreign: set[int] = set()
    for part in dumped[0]:
        for number, via in nexthops.parse(part):
            if number in OBJECTS:
                if via:
                    vias[number] = via
                else:
                    foreign.add(number)
        yield
    installed: dict[Prefix, int] = {}
    unreachable: set[Prefix] = set()
    surplus: list[tuple[Prefix, int]] = []
    misplaced: list[tuple[Prefix, int, int]] = []
    known = {via: number for number, via in kernel.nexthops.items() if not is_object(number)}
    unused = (number for number in GATEWAYS if number not in kernel.nexthops)
    for part in itertools.chain(*dumped[1:]):
        for route in routes.parse(part):
            if route.unreachable and route.misplaced:
                misplaced.append((route.prefix, 0, route.metric))
            elif route.unreachable:
                unreachable.add(route.prefix)
            numbers = [route.number] if route.number else []
            for via in route.vias:
                number = kernel.routes.get(route.prefix, 0)  # the former one, if several fit
                if is_object(number) or kernel.nexthops.get(number) != via:
                    if via not in known:
                        known[via] = next(unused)
                    number = known[via]
                vias[number] = via
                numbers.append(number)
            if route.misplaced:
                misplaced += [(route.prefix, number, route.metric) for number in numbers]
                continue
            surplus += [
                (route.prefix, number)
                for number in numbers
                if installed.setdefault(route.prefix, number) != number
            ]
        yield
    kernel.nexthops, kernel.foreign, kernel.routes = vias, foreign, installed
    kernel.unreachable, kernel.surplus, kernel.misplaced = unreachable, surplus, misplaced
