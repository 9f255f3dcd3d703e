"""Our routes and nexthops in this node's kernel, as far as known: from a dump, and our own changes since.

Only a new dump shows what others changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.state import Address, Via


@dataclass
class Kernel:
    """The actual state. `objects`: whether nexthop objects are used. If not, nexthop numbers exist only in
    this process, and each route has its own gateway; the plan is the same.

    `links`: address -> index of the interface on whose link it is, or 0, for each address that was looked up.
    `foreign`: ids of our range that somebody else uses. `surplus`: second routes of ours to a prefix, which
    an interrupted change may leave. `misplaced`: (route, nexthop, metric) of routes with our protocol and
    another metric than ours; nexthop 0: unreachable. `fresh`: dumped since the last plan."""

    objects: bool = True
    nexthops: dict[int, Via] = field(default_factory=dict)
    routes: dict[Prefix, int] = field(default_factory=dict)
    unreachable: set[Prefix] = field(default_factory=set)
    links: dict[Address, int] = field(default_factory=dict)
    foreign: set[int] = field(default_factory=set)
    surplus: list[tuple[Prefix, int]] = field(default_factory=list)
    misplaced: list[tuple[Prefix, int, int]] = field(default_factory=list)
    fresh: bool = False

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
