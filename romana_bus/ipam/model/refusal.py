"""A decision on the log that contradicts an earlier one, and so is ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from romana_bus.events import AddressEvent, BlockAssigned, GroupOpened

#: ("address", node, pod), ("block", node, block) or ("group", network, group).
Entity = tuple[str, str, str]


class Refusal(NamedTuple):
    """A refused decision. `event`: the decision, at IPAM/`seq`. `reason`: what it contradicts."""

    event: AddressEvent | BlockAssigned | GroupOpened
    seq: int
    reason: str
