"""The changes to make in the kernel, in an order that loses no packet.

Additions come first, removals last: when an aggregate is split, or blocks are merged, the new routes exist
before the old ones are removed; and no route ever uses a nexthop that does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.state import Via


@dataclass
class Delta:
    """Changes, in the order in which they have to be applied.

    `created`, `changed`, `deleted`: nexthops; the routes that use a changed one stay as they are. `moved`:
    (route, new nexthop, old nexthop). `unreachable`: unreachable routes to add, `reachable`: to remove.
    `misplaced`: see Kernel."""

    created: list[tuple[int, Via]] = field(default_factory=list)
    changed: list[tuple[int, Via]] = field(default_factory=list)
    added: list[tuple[Prefix, int]] = field(default_factory=list)
    moved: list[tuple[Prefix, int, int]] = field(default_factory=list)
    unreachable: list[Prefix] = field(default_factory=list)
    removed: list[tuple[Prefix, int]] = field(default_factory=list)
    misplaced: list[tuple[Prefix, int, int]] = field(default_factory=list)
    reachable: list[Prefix] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        """How many changes."""
        return (
            len(self.created) + len(self.changed) + len(self.added) + len(self.moved)
            + len(self.unreachable) + len(self.removed) + len(self.misplaced) + len(self.reachable)
            + len(self.deleted)
        )  # fmt: skip
