"""A kernel in memory, as far as routes and nexthops go, with the interface of `netlink.Forwarding`.

It passes the suite that the real one passes (`tests/contract/test_forwarding.py`). Beside what is ours it
has what others made, and devices that come and go; what it refuses, it refuses as the real one does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import Prefix, format_address, parse_address
from romana_bus.netlink.fib_apply import Unapplied
from romana_bus.netlink.routes import LAST_METRIC, METRIC
from romana_bus.routing import Network
from romana_bus.routing.routes.nexthop_ids import GATEWAYS, OBJECTS, is_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from romana_bus.netlink.node_network import Reached
    from romana_bus.routing import Address, Delta, Kernel
    from romana_bus.routing.routes.state import Via

OURS = "82"


class Way(NamedTuple):
    """A route. `number`: its nexthop object, or 0. `via`: where it leads itself; neither: unreachable."""

    prefix: Prefix
    metric: int = METRIC
    proto: str = OURS
    number: int = 0
    via: Via | None = None


class FakeForwarding:
    """`links`: what is on-link: the beginning of an address as text -> the index of the interface."""

    def __init__(self, links: dict[str, int], objects: bool = True) -> None:
        self.links, self.objects = links, objects
        self.nexthops: dict[int, Via] = {}
        self.others: set[int] = set()  # ids of nexthops that are not ours
        self.ways: list[Way] = []
        self.lives_on = Network()

    # --- Forwarding ---

    def network(self, reached: Reached) -> Network:
        return self.lives_on

    def ask(self, addresses: Sequence[Address]) -> Iterator[dict[Address, int]]:
        yield {address: self.link(address) for address in addresses}

    def link(self, address: Address) -> int:
        text = format_address(*address)
        return next((link for start, link in self.links.items() if text.startswith(start)), 0)

    def read(self, kernel: Kernel) -> Iterator[None]:
        kernel.objects, kernel.fresh = self.objects, True
        known = {via: number for number, via in kernel.nexthops.items() if not is_object(number)}
        unused = (number for number in GATEWAYS if number not in kernel.nexthops)
        vias = {number: via for number, via in self.nexthops.items() if number not in self.others}
        found: dict[Prefix, int] = {}
        kernel.surplus, kernel.misplaced, kernel.unreachable = [], [], set()
        for way in self.ways:
            if way.proto != OURS:
                continue
            number = way.number
            if way.via is not None:
                number = kernel.routes.get(way.prefix, 0)
                if is_object(number) or kernel.nexthops.get(number) != way.via:
                    number = known[way.via] if way.via in known else next(unused)
                known.setdefault(way.via, number)
                vias[number] = way.via
            if way.metric != (METRIC if number else LAST_METRIC):
                kernel.misplaced.append((way.prefix, number, way.metric))
            elif not number:
                kernel.unreachable.add(way.prefix)
            elif found.setdefault(way.prefix, number) != number:
                kernel.surplus.append((way.prefix, number))
        kernel.nexthops, kernel.routes = vias, found
        kernel.foreign = {number for number in self.others if number in OBJECTS}
        yield

    def apply(self, delta: Delta, kernel: Kernel) -> Iterator[int]:
        refused: list[str] = []
        missing: list[Prefix] = []
        for number, via in delta.created:
            if not is_object(number) or self._make(number, via, number not in self.nexthops, refused):
                kernel.nexthops[number] = via
        for number, via in delta.changed:
            if self._make(number, via, number in self.nexthops, refused):
                kernel.nexthops[number] = via
        moved = [(route, number) for route, number, _ in delta.moved]
        for route, number in [*delta.added, *moved]:
            if not self._add(self._way(route, number, kernel)):
                refused.append(f"{route} by nexthop {number}")
                missing.append(route)
                continue
            if (old := {one: had for one, _, had in delta.moved}.get(route)) is not None:
                self._remove(self._way(route, old, kernel), unless=self._way(route, number, kernel))
            kernel.routes[route] = number
        for prefix in delta.unreachable:
            self._add(Way(prefix, LAST_METRIC))
            kernel.unreachable.add(prefix)
        held = [one for one in delta.removed if any(one[0].overlaps(other) for other in missing)]
        for route, number in delta.removed:
            if (route, number) not in held:
                self._remove(self._way(route, number, kernel))
                if kernel.routes.get(route) == number:
                    del kernel.routes[route]
        for route, number, metric in delta.misplaced:
            self._remove(self._way(route, number, kernel)._replace(metric=metric))
        for prefix in delta.reachable:
            self._remove(Way(prefix, LAST_METRIC))
            kernel.unreachable.discard(prefix)
        for number in delta.deleted:
            if other := next((way for way in self.ways if number and way.number == number), None):
                refused.append(
                    f"nexthop {number} cannot be deleted: a route of another owner to {other.prefix} uses it"
                )
                continue
            if number in kernel.routes.values():
                continue
            self.nexthops.pop(number, None)
            kernel.nexthops.pop(number, None)
        yield len(delta)
        if refused:
            raise Unapplied("; ".join(refused))

    def _make(self, number: int, via: Via, possible: bool, refused: list[str]) -> bool:
        if possible and self.link(via[:2]):
            self.nexthops[number] = via
            return True
        refused.append(f"nexthop {number} via {format_address(*via[:2])}")
        return False

    def _way(self, route: Prefix, number: int, kernel: Kernel) -> Way:
        if not number:
            return Way(route)
        return Way(route, number=number) if is_object(number) else Way(route, via=kernel.nexthops[number])

    def _add(self, way: Way) -> bool:
        """The same again is no error."""
        leads = way.number in self.nexthops if way.number else way.via is None or self.link(way.via[:2])
        if leads and way not in self.ways:
            self.ways.append(way)
        return bool(leads)

    def _remove(self, way: Way, unless: Way | None = None) -> None:
        """One that is not there is no error."""
        if way in self.ways and way != unless:
            self.ways.remove(way)

    # --- whoever else is on the machine ---

    def add_foreign_route(
        self, prefix: str, gateway: str, proto: str = "static", metric: int = METRIC
    ) -> None:
        address = parse_address(gateway)
        width, base = parse_address(prefix.partition("/")[0])
        way = Prefix(width, base, int(prefix.partition("/")[2]))
        self.ways.append(Way(way, metric, proto, via=(*address, self.link(address))))

    def add_foreign_route_by(self, prefix: str, number: int) -> None:
        width, base = parse_address(prefix.partition("/")[0])
        self.ways.append(Way(Prefix(width, base, int(prefix.partition("/")[2])), 0, "boot", number=number))

    def remove_route(self, prefix: str, proto: str = OURS) -> None:
        self.ways = [way for way in self.ways if str(way.prefix) != prefix or way.proto != proto]

    def make_foreign_nexthop(self, number: int, gateway: str) -> None:
        address = parse_address(gateway)
        self.nexthops[number] = *address, self.link(address)
        self.others.add(number)

    def device_goes(self) -> None:
        """With all that leads through it."""
        gone = set(self.links.values())
        self.links.clear()
        self.nexthops = {number: via for number, via in self.nexthops.items() if via[2] not in gone}
        self.others &= self.nexthops.keys()
        self.ways = [
            way for way in self.ways if (way.number in self.nexthops if way.number else way.via is None)
        ]

    def device_comes(self) -> None:
        self.links.update({"10.99.": 3, "fd99::": 3})

    def shown(self) -> set[tuple[str, str, int, str]]:
        """(prefix, protocol, metric, where it leads)."""
        return {
            (str(way.prefix), way.proto, way.metric,
             format_address(*via[:2]) if (via := way.via or self.nexthops.get(way.number)) else "")
            for way in self.ways
        }  # fmt: skip
