"""Compares networks for pods with what the nodes live on, before somebody sets them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.ipam.model.ranges import Ranges
from romana_bus.ipam.model.underlay import CONNECTED, Claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.inet import Prefix
    from romana_bus.ipam.model.state import State

#: The kind of a service CIDR, which no report has.
SERVICES = "the service CIDR of"
#: How many nodes a message names.
NAMED = 3


class NetworkOverlap(NamedTuple):
    """A prefix for pods shares addresses with `claim`, which `nodes` live on; no nodes for a service CIDR.
    `in_use`: pods have addresses of it already, so it is not refused any more."""

    prefix: Prefix
    claim: Claim
    nodes: tuple[str, ...]
    in_use: bool

    @property
    def text(self) -> str:
        count = len(self.nodes)
        names = ", ".join(self.nodes[:NAMED]) + (f" and {count - NAMED:,} more" if count > NAMED else "")
        whom = f"node{'s' if count > 1 else ''} {names}" if count else "the cluster"
        return f"{self.prefix} overlaps {self.claim.text}, {self.claim.of(whom)}"


def overlaps(
    state: State, prefixes: Iterable[Prefix], services: Iterable[Prefix] = ()
) -> Iterator[NetworkOverlap]:
    """Yields what overlaps each of the prefixes: service CIDRs first, then what most nodes live on. An
    address inside a connected prefix that is yielded is left out."""
    claims: dict[Claim, list[str]] = {Claim(SERVICES, prefix): [] for prefix in services}
    for name, host in sorted(state.hosts.items()):
        connected = (claim for claim in host.underlay if claim.kind == CONNECTED)
        for claim in dict.fromkeys((*connected, *host.claimed)):
            claims.setdefault(claim, []).append(name)
    ordered = sorted(claims, key=lambda claim: (claim.kind != SERVICES, claim.kind != CONNECTED,
                                                -len(claims[claim]), claim))  # fmt: skip
    for prefix in prefixes:
        in_use, links = _in_use(state, prefix), Ranges()
        for claim in ordered:
            start, end = claim.prefix.base, claim.prefix.end
            if prefix.overlaps(claim.prefix) and not links.holds(start, end):
                yield NetworkOverlap(prefix, claim, tuple(claims[claim]), in_use)
                if claim.kind == CONNECTED:
                    links.add(start, end)


def _in_use(state: State, prefix: Prefix) -> bool:
    """Whether pods have addresses of the prefix, which is part of a network in force."""
    if state.topology.network_of(prefix) is None:
        return False
    return any(block.used and prefix.overlaps(block.prefix) for block in state.blocks.values())
