"""Our routes and nexthops in this node's kernel, as far as known: from a dump, and our own changes since.

Only a new dump shows what others changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from romana_bus.routing.routes.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.guard import Network
    from romana_bus.routing.routes.state import Address, Via


@dataclass
class Kernel:
    """The actual state. `objects`: whether nexthop objects are used. If not, nexthop numbers exist only in
    this process, and each route has its own gateway; the plan is the same.

    `links`: address -> index of the interface on whose link it is, or 0, for each address that was looked up.
    `foreign`: ids of our range that somebody else uses. `surplus`: second routes of ours to a prefix, which
    an interrupted change may leave. `misplaced`: (route, nexthop, metric) of routes with our protocol and
    another metric than ours; nexthop 0: unreachable. `guard`: refuses routes that would take away what this
    node lives on. `fresh`: dumped, or another guard, since the last derivation."""

    objects: bool = True
    nexthops: dict[int, Via] = field(default_factory=dict)
    routes: dict[Prefix, int] = field(default_factory=dict)
    unreachable: set[Prefix] = field(default_factory=set)
    links: dict[Address, int] = field(default_factory=dict)
    foreign: set[int] = field(default_factory=set)
    surplus: list[tuple[Prefix, int]] = field(default_factory=list)
    misplaced: list[tuple[Prefix, int, int]] = field(default_factory=list)
    guard: Guard = field(default_factory=Guard)
    fresh: bool = False

    def set_network(self, network: Network) -> bool:
        """Guard what the node lives on now; returns whether that has changed. Then all hosts have to be
        derived again."""
        if network == self.guard.network:
            return False
        self.guard, self.fresh = Guard(network), True
        return True

    def answer(self, answers: dict[Address, int]) -> set[Address]:
        """Note lookups of addresses; returns the addresses whose interface changed."""
        changed = {address for address, link in answers.items() if self.links.get(address) != link}
        self.links.update(answers)
        return changed

    def forget_links(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            self.links.pop(address, None)

    def forget_links_but(self, addresses: Iterable[Address]) -> None:
        """Keep only the lookups of these addresses."""
        self.links = {address: self.links[address] for address in addresses if address in self.links}
