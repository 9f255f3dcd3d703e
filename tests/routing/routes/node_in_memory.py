"""A node in memory for the plan: it applies each Delta, and asserts what must not happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.inet import Prefix, format_address, parse_address
from romana_bus.routing import Delta, Kernel, State, derive, evolve, plan
from tests.pure import plan_twice
from tests.routing.routes.kernel_in_memory import FakeForwarding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.events import Event


class World:
    """One node with its state, its kernel (`there`), and what it knows of that (`kernel`). `links`: prefixes
    that are on-link, with their interface."""

    def __init__(
        self, *, objects: bool = True, links: dict[str, int] | None = None, node: str = "me"
    ) -> None:
        self.links = {"10.99.0.": 2, "fd99::": 2} if links is None else links
        self.there = FakeForwarding(self.links, objects)
        self.kernel = Kernel(objects=objects, fresh=True)
        self.state = State(node)
        self.deltas: list[Delta] = []

    def feed(self, *events: Event) -> Delta:
        for seq, event in enumerate(events):
            evolve(self.state, event, seq)
        return self.settle()

    def settle(self) -> Delta:
        """Ask, plan, apply."""
        unknown = [one for one in self.state.addresses(self.state.touched) if one not in self.kernel.links]
        for answers in self.there.ask(unknown):
            self.kernel.answer(answers)
        derive(self.state, self.kernel)
        delta = plan_twice(plan, self.state, self.kernel)
        self.apply(delta)
        self.deltas.append(delta)
        return delta

    def link(self, address: str) -> int:
        return self.there.link(parse_address(address))

    def look(self) -> None:
        """Dump it again."""
        list(self.there.read(self.kernel))

    def ask_again(self) -> None:
        """As after a link or an address has changed."""
        for answers in self.there.ask(list(self.kernel.links)):
            self.state.touch_where(self.kernel.answer(answers))

    def restarted(self) -> None:
        """The process is new, the kernel is not."""
        self.state, self.kernel = State(self.state.node), Kernel()
        self.look()

    def apply(self, delta: Delta) -> None:
        kernel = self.kernel
        assert not kernel.nexthops.keys() & dict(delta.created).keys()
        assert not kernel.foreign & dict(delta.created).keys()
        assert dict(delta.changed).keys() <= kernel.nexthops.keys()
        assert not kernel.routes.keys() & dict(delta.added).keys()
        assert all(kernel.routes[route] == old for route, _, old in delta.moved)
        leads = kernel.nexthops.keys() | dict(delta.created).keys()
        assert {number for _, number in delta.added} | {number for _, number, _ in delta.moved} <= leads
        list(self.there.apply(delta, kernel))
        assert not set(delta.deleted) & kernel.nexthops.keys()
        assert set(kernel.routes.values()) <= kernel.nexthops.keys()

    @property
    def routes(self) -> dict[str, str]:
        """Route -> where it leads, in text."""
        return {
            str(route): format_address(*self.kernel.nexthops[number][:2])
            for route, number in sorted(self.kernel.routes.items())
        }

    @property
    def unreachable(self) -> list[str]:
        return [str(prefix) for prefix in sorted(self.kernel.unreachable)]

    def way(self, address: str) -> str:
        """Where a packet goes: the longest prefix has it."""
        width, value = parse_address(address)
        one = Prefix(width, value, width)
        ways = {route: number for route, number in self.kernel.routes.items() if route.contains(one)}
        if not ways:
            return "unreachable" if any(bar.contains(one) for bar in self.kernel.unreachable) else "default"
        return format_address(*self.kernel.nexthops[ways[max(ways, key=lambda route: route.length)]][:2])


def world_after(*histories: Iterable[Event]) -> World:
    world = World()
    for events in histories:
        world.feed(*events)
    return world
