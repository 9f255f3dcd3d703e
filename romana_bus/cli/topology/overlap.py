"""Refuses a topology whose networks overlap what the cluster's nodes live on, or its Services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.terminal import print_error
from romana_bus.cli.common.topology_file import BadFile, Finding
from romana_bus.errors import BadInput
from romana_bus.inet import parse_prefix
from romana_bus.ipam.change.overlaps import overlaps

if TYPE_CHECKING:
    from romana_bus.cli.common.topology_file import Source
    from romana_bus.inet import Prefix
    from romana_bus.ipam import State
    from romana_bus.ipam.topology.networks import Network

#: How many overlaps of a network are shown.
SHOWN = 5


@Parameter(name="*", group=OPTIONS)
@dataclass(frozen=True)
class Services:
    """Where the cluster's Services are."""

    service_cidr: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """The cluster's service CIDR (--service-cluster-ip-range of its API server), which no network may
    overlap. Repeatable."""

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Raises BadInput."""
        texts = [text for given in self.service_cidr for text in given.split(",")]
        try:
            return tuple(parse_prefix(text) for text in texts)
        except ValueError as error:
            raise BadInput(f"--service-cidr: {error}") from None


def overlapping(
    source: Source, networks: tuple[Network, ...], state: State, services: tuple[Prefix, ...]
) -> list[Finding]:
    """What the file's networks overlap: errors; or warnings where pods have addresses of the network already,
    since refusing them would end nothing, and keep the operator from adding another network."""
    places = {raw["name"]: f"networks[{n}].cidr" for n, raw in enumerate(source.document["networks"])}
    findings = []
    for network in networks:
        found, place = list(overlaps(state, [network.prefix], services)), places[network.name]
        more = len(found) - SHOWN
        for n, each in enumerate(found[:SHOWN]):
            text = f"{each.text}: choose another cidr"
            if each.in_use:
                text = f"{each.text}: pods have addresses of it; move them to another network"
            text += f" (and {more:,} more overlaps)" if n == SHOWN - 1 and more > 0 else ""
            severity = "warning" if each.in_use else "error"
            findings.append(Finding(source.root.line_of(place), place, "overlap", text, severity))
    return findings


def refuse_overlaps(
    source: Source, networks: tuple[Network, ...], state: State, services: tuple[Prefix, ...]
) -> None:
    """Prints warnings on stderr. Raises BadFile if there are errors."""
    findings = overlapping(source, networks, state, services)
    if errors := [finding for finding in findings if finding.severity == "error"]:
        raise BadFile(source.name, errors)
    for finding in findings:
        print_error(finding.said(source.name))
