"""What an operator's wish about reserved ranges comes to: the events that say it, or why not. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.errors import BadInput
from romana_bus.events import RangeReserved, RangeUnreserved
from romana_bus.inet import Prefix, format_address, parse_prefix

if TYPE_CHECKING:
    from romana_bus.ipam.state import State


class BadRange(BadInput):
    """`kind`: bad_cidr, no_network, whole_network, in_use, or not_reserved."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        super().__init__(reason)


def reserve(state: State, cidr: str, despite_use: bool = False) -> list[RangeReserved | RangeUnreserved]:
    """Nothing where a reserved range covers it already; a larger range replaces the ones inside it.
    With `despite_use`, pods that have addresses in it keep them. Raises BadRange."""
    prefix = _parse(cidr)
    network = state.topology.network_of(prefix)
    if network is None:
        raise BadRange("no_network", f"{prefix} is not inside one network")
    if prefix == network.prefix:
        raise BadRange("whole_network", f"{prefix} is all of network {network.name}")
    if not despite_use and (pods := in_use(state, prefix)):
        raise BadRange("in_use", f"{prefix} has addresses in use: {', '.join(pods)}")
    if any(other.contains(prefix) for other in state.reserves.values()):
        return []
    inside = sorted(text for text, other in state.reserves.items() if prefix.contains(other))
    return [RangeReserved(cidr=str(prefix)), *(RangeUnreserved(cidr=text) for text in inside)]


def unreserve(state: State, cidr: str) -> list[RangeReserved | RangeUnreserved]:
    """Only what was reserved, as it was. Raises BadRange."""
    prefix = _parse(cidr)
    if str(prefix) not in state.reserves:
        known = ", ".join(sorted(state.reserves)) or "nothing"
        raise BadRange("not_reserved", f"{prefix} is not reserved; {known} is")
    return [RangeUnreserved(cidr=str(prefix))]


def in_use(state: State, prefix: Prefix) -> list[str]:
    """The addresses that pods have inside `prefix`, each with its pod."""
    found = []
    for host in state.hosts.values():
        for record in host.records.values():
            for held in record.held:
                value = held.block.prefix.base + held.offset
                if held.block.prefix.width == prefix.width and prefix.base <= value < prefix.end:
                    found.append((value, f"{format_address(prefix.width, value)} ({record.key})"))
    return [text for _, text in sorted(found)]


def _parse(cidr: str) -> Prefix:
    try:
        return parse_prefix(cidr)
    except ValueError as error:
        raise BadRange("bad_cidr", str(error)) from None
