"""A kernel in memory for the plan: it does what a Delta says, in order, and notices what must not happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.inet import Prefix, format_address, parse_address
from romana_bus.routing import Delta, Kernel, State, evolve, plan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.events import Event


class World:
    """One node with its state and kernel. `links`: prefixes that are on-link, with their interface."""

    def __init__(
        self, *, objects: bool = True, links: dict[str, int] | None = None, node: str = "me"
    ) -> None:
        self.links = {"10.99.0.": 2, "fd99::": 2} if links is None else links
        self.kernel = Kernel(objects=objects, fresh=True)
        self.state = State(node)
        self.deltas: list[Delta] = []

    def tell(self, *events: Event) -> Delta:
        for seq, event in enumerate(events):
            evolve(self.state, event, seq)
        return self.settle()

    def settle(self) -> Delta:
        """Ask, plan, apply."""
        for address in self.state.addresses(self.state.touched):
            if address not in self.kernel.links:
                self.kernel.answer({address: self.link(format_address(*address))})
        delta = plan(self.state, self.kernel)
        self.apply(delta)
        self.deltas.append(delta)
        return delta

    def link(self, address: str) -> int:
        return next((link for start, link in self.links.items() if address.startswith(start)), 0)

    def ask_again(self) -> None:
        """As after a link or an address has changed."""
        known = {address: self.link(format_address(*address)) for address in self.kernel.links}
        self.state.touch_where(self.kernel.answer(known))

    def restarted(self) -> None:
        """The process is new, the kernel is not."""
        self.state = State(self.state.node)
        self.kernel.links, self.kernel.fresh = {}, True

    def apply(self, delta: Delta) -> None:
        kernel = self.kernel
        for number, via in delta.created:
            assert number not in kernel.nexthops
            assert number not in kernel.foreign
            kernel.nexthops[number] = via
        for number, via in delta.changed:
            assert number in kernel.nexthops
            kernel.nexthops[number] = via
        reachable = self.covered()
        for route, number in delta.added:
            assert route not in kernel.routes
            assert number in kernel.nexthops
            kernel.routes[route] = number
        for route, number, old in delta.moved:
            assert kernel.routes[route] == old
            assert number in kernel.nexthops
            kernel.routes[route] = number
        assert reachable <= self.covered()  # nothing has gone before the new was there
        kernel.barred.update(delta.barred)
        for route, number in delta.removed:
            assert kernel.routes.pop(route) == number
        kernel.barred.difference_update(delta.unbarred)
        for number in delta.deleted:
            assert number not in kernel.routes.values()
            del kernel.nexthops[number]

    def covered(self) -> set[int]:
        """The first addresses of all /28 that some route leads to."""
        return {
            base
            for route in self.kernel.routes
            for base in range(route.base, route.end, 16)
            if route.size <= 1 << 12
        }

    @property
    def routes(self) -> dict[str, str]:
        """Route -> where it leads, in text."""
        return {
            str(route): format_address(*self.kernel.nexthops[number][:2])
            for route, number in sorted(self.kernel.routes.items())
        }

    @property
    def barred(self) -> list[str]:
        return [str(prefix) for prefix in sorted(self.kernel.barred)]

    def way(self, address: str) -> str:
        """Where a packet goes: the longest prefix has it."""
        width, value = parse_address(address)
        one = Prefix(width, value, width)
        ways = {route: number for route, number in self.kernel.routes.items() if route.contains(one)}
        if not ways:
            return "unreachable" if any(bar.contains(one) for bar in self.kernel.barred) else "default"
        return format_address(*self.kernel.nexthops[ways[max(ways, key=lambda route: route.length)]][:2])


def told(*histories: Iterable[Event]) -> World:
    world = World()
    for events in histories:
        world.tell(*events)
    return world
