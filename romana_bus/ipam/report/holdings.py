"""Holdings: which pods hold the addresses of a prefix, or held them last while they cool down."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.inet import Prefix
    from romana_bus.ipam.model.state import State


class Holding(NamedTuple):
    """An address that a pod's name has on a node. `pod`: NAMESPACE/NAME. `until`: when it has cooled down
    (µs); 0 while it is in use."""

    value: int
    pod: str
    node: str
    until: int = 0


def holdings(state: State, prefix: Prefix) -> Iterator[Holding]:
    """Yields all addresses of the prefix that are in use or cooling, in no particular order."""
    for host in state.hosts.values():
        for record in host.records.values():
            for held in record.held:
                if prefix.includes(*held.numeric):
                    yield Holding(held.numeric[1], record.key, host.name)
            for cooling in record.cooling:
                if prefix.includes(*cooling.numeric):
                    yield Holding(cooling.numeric[1], record.key, host.name, cooling.until)
