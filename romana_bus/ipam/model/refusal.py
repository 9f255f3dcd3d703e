"""A decision on the log that contradicts what was known before it, and so counts for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.events import IPAM, SPEC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.events import AddressEvent, BlockAssigned, GroupOpened
    from romana_bus.ipam.model.state import State

#: ("address", node, pod), ("block", node, block) or ("group", network, group).
Entity = tuple[str, str, str]


class Refusal(NamedTuple):
    """`event`: as it stands on the log, at IPAM/`seq`. `reason`: what it contradicts."""

    event: AddressEvent | BlockAssigned | GroupOpened
    seq: int
    reason: str


def refusals(state: State) -> Iterator[tuple[str, int, str, str]]:
    """What of the log is not believed: (stream, sequence, subject, why)."""
    if state.problem:
        yield SPEC, state.wanted_seq, "spec.topology", state.problem
    for _, refusal in sorted(state.refused.items()):
        yield IPAM, refusal.seq, refusal.event.subject(), f"refused: {refusal.reason}"
