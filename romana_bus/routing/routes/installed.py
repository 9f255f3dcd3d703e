"""What the kernel of this node has that is ours, as far as we know: dumped, and then kept up with our own
changes. Only a new dump says what others did to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.state import Address, Via


@dataclass
class Kernel:
    """`objects`: whether it has nexthop objects. If not, nexthops are numbers that we alone know, and each
    route says itself where it leads; the plan is the same.

    `links`: for each address that was asked about, the index of the interface on whose link it is, or 0.
    `foreign`: ids of our range that somebody else uses. `surplus`: further routes of ours to a prefix that
    has one, which an interrupted change may leave behind. `misplaced`: those with our mark and another
    metric than ours, (route, nexthop, metric); nexthop 0: unreachable. `fresh`: dumped anew since the last
    plan."""

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
        """Take in what is on-link; gives the addresses for which that is news."""
        news = {address for address, link in answers.items() if self.links.get(address) != link}
        self.links.update(answers)
        return news

    def forget_links(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            self.links.pop(address, None)

    def forget_links_but(self, addresses: Iterable[Address]) -> None:
        """Keep the answers about these only."""
        self.links = {one: self.links[one] for one in addresses if one in self.links}
