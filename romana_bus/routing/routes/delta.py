"""What has to be changed in the kernel, in an order in which no packet is lost on the way.

What is added comes first and what is removed last: when an aggregate is split or its parts are merged, the
new routes are there before the old ones go; and no route ever points at a nexthop that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.state import Via


@dataclass
class Delta:
    """In the order in which it has to be applied. `changed`: nexthops that lead elsewhere from now on, which
    no route notices; `moved`: (route, its new nexthop, its old one); `misplaced`: see Kernel."""

    created: list[tuple[int, Via]] = field(default_factory=list)
    changed: list[tuple[int, Via]] = field(default_factory=list)
    added: list[tuple[Prefix, int]] = field(default_factory=list)
    moved: list[tuple[Prefix, int, int]] = field(default_factory=list)
    unreachable: list[Prefix] = field(default_factory=list)
    removed: list[tuple[Prefix, int]] = field(default_factory=list)
    misplaced: list[tuple[Prefix, int, int]] = field(default_factory=list)
    unbarred: list[Prefix] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        """How many changes."""
        return (
            len(self.created) + len(self.changed) + len(self.added) + len(self.moved)
            + len(self.unreachable) + len(self.removed) + len(self.misplaced) + len(self.unbarred)
            + len(self.deleted)
        )  # fmt: skip
