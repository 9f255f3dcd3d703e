"""Reserves ranges of addresses and frees them again: returns the events to publish, or why not. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.errors import BadInput
from romana_bus.events import RangeReserved, RangeUnreserved
from romana_bus.inet import Prefix, format_address, parse_address, parse_prefix
from romana_bus.ipam.report.holdings import holdings

if TYPE_CHECKING:
    from romana_bus.ipam.model.state import State


#: How many pods or ranges a message names.
SHOWN = 5


class BadRange(BadInput):
    """A range that cannot be reserved or freed. `kind`: bad_cidr, no_network, whole_network, in_use, or
    not_reserved."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        super().__init__(reason)


def reserve(state: State, cidr: str, despite_use: bool = False) -> list[RangeReserved | RangeUnreserved]:
    """Returns the events that reserve the range; none where a reserved range covers it already. It replaces
    the reserved ranges inside it. With `despite_use`, pods keep their addresses in it. Raises BadRange."""
    prefix = parse(cidr)
    network = state.topology.network_of(prefix)
    if network is None:
        known = _some([f"{network.name} {network.prefix}" for network in state.topology.networks])
        raise BadRange("no_network", f"{prefix} is not inside one network; there is: {known or 'none'}")
    if prefix == network.prefix:
        raise BadRange("whole_network", f"{prefix} is all of network {network.name}: reserve a part of it")
    if not despite_use and not covering(state, cidr) and (pods := live(state, cidr)):
        used = _some([f"{address} ({pod})" for address, pod in pods])
        raise BadRange("in_use", f"{prefix} has addresses in use: {used}")
    if covering(state, cidr):
        return []
    inside = sorted(text for text, other in state.reserves.items() if prefix.contains(other))
    return [RangeReserved(cidr=str(prefix)), *(RangeUnreserved(cidr=text) for text in inside)]


def unreserve(state: State, cidr: str) -> list[RangeReserved | RangeUnreserved]:
    """Returns the events that free a reserved range. It has to be given as it was reserved. Raises
    BadRange."""
    prefix = parse(cidr)
    if str(prefix) not in state.reserves:
        known = [str(other) for other in sorted(state.reserves.values())]
        verb = "are" if len(known) > 1 else "is"
        raise BadRange("not_reserved", f"{prefix} is not reserved; {_some(known) or 'nothing'} {verb}")
    return [RangeUnreserved(cidr=str(prefix))]


def covering(state: State, cidr: str) -> str:
    """The reserved range that contains this one, or ''. Raises BadRange."""
    prefix = parse(cidr)
    return next((text for text, other in state.reserves.items() if other.contains(prefix)), "")


def live(state: State, cidr: str) -> list[tuple[str, str]]:
    """Returns the addresses in the range that pods use, each with its pod, in order. Raises BadRange."""
    prefix = parse(cidr)
    used = sorted(holding for holding in holdings(state, prefix) if not holding.until)
    return [(format_address(prefix.width, value), pod) for value, pod, *_ in used]


def parse(cidr: str) -> Prefix:
    """Parses a CIDR. An address is a range of one. Raises BadRange."""
    try:
        if "/" not in cidr:
            width, value = parse_address(cidr)
            return Prefix(width, value, width)
        return parse_prefix(cidr)
    except ValueError as error:
        raise BadRange("bad_cidr", str(error)) from None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
