"""The context of one `decide`: each decision is folded into the state before the next one is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.events import SPEC
from romana_bus.ipam.fold.address_events import event_of
from romana_bus.ipam.fold.decisions import replace
from romana_bus.ipam.fold.evolve import evolve
from romana_bus.ipam.model.index import Index
from romana_bus.ipam.model.usage import free_by_leaf

if TYPE_CHECKING:
    from romana_bus.events import IpamEvent
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.topology.tree import Leaf


class Decision(NamedTuple):
    """An event to publish. `cause`: STREAM/SEQUENCE of the fact that made it necessary; '' for the time."""

    event: IpamEvent
    cause: str


class Context:
    """The state, its index, and the decisions taken so far. `size`: decisions of one part, about."""

    def __init__(self, state: State, size: int) -> None:
        self.state = state
        self.size = size
        self.decisions: list[Decision] = []
        self._free: list[int] | None = None
        self.index = self.refreshed()

    def refreshed(self) -> Index:
        """The index, rebuilt if it is missing or stale."""
        index = self.state.index
        if not isinstance(index, Index) or index.stale:
            index = self.state.index = Index(self.state)
            self._free = None
        self.index = index
        return index

    def free_addresses(self, leaf: Leaf) -> int:
        """How many addresses of the leaf were free when this context first asked."""
        if self._free is None:
            self._free = free_by_leaf(self.state)
        return self._free[leaf.number]

    @property
    def topology_cause(self) -> str:
        """STREAM/SEQUENCE of the topology in force; '' for the default topology."""
        state = self.state
        return f"{SPEC}/{state.wanted_seq}" if state.documented and state.wanted_seq else ""

    @property
    def full(self) -> bool:
        """Whether there are enough decisions for a part."""
        return len(self.decisions) >= self.size

    def taken(self) -> list[Decision]:
        """Returns the decisions since the last call."""
        decisions, self.decisions = self.decisions, []
        return decisions

    def publish(self, event: IpamEvent, cause: str = "") -> None:
        """Folds the event, and adds it to the decisions."""
        evolve(self.state, event)
        self.decisions.append(Decision(event, cause))

    def address(self, host: Host, record: Record, cause: str, **details: Any) -> None:
        """Stores the record, and adds its event to the decisions. `details`: as for `event_of`."""
        decision = Decision(event_of(self.state, host.name, record, **details), cause)
        # Folding the event stores an equal record, but reads it from text again: the whole core would take a
        # quarter longer.
        replace(self.state, host, record)
        self.decisions.append(decision)
