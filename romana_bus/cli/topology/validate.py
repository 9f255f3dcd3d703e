"""`topology validate`: a file alone, without a log or a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.cli.common import console
from romana_bus.cli.common.source import Look, look, opened
from romana_bus.cli.common.terminal import Text
from romana_bus.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from romana_bus.cli.common.options import Output
    from romana_bus.ipam.topology.networks import Network
    from romana_bus.ipam.topology.tree import Group


def validate(file: Path, output: Output) -> None:
    """Raises BadInput where something is wrong, which is said then."""
    source, found = opened(file)
    seen = look(source) if source else Look([], found)
    if output.json:
        console.as_json([finding._asdict() | {"line": finding.line or None} for finding in seen.found])
    else:
        for finding in seen.found:
            console.console.print(Text(finding.said(str(file))), soft_wrap=True)
        for line in _made(seen.networks) if not seen.errors else ():
            console.console.print(Text(line))
    if seen.errors:
        raise BadInput


def _made(networks: list[Network]) -> Iterator[str]:
    """What a good one makes: how much room, and how much of it for groups to come."""
    yield f"good: {console.many(len(networks), 'network')}"
    for network in networks:
        block = 1 << (network.prefix.width - network.block_length)
        groups = console.many(len(network.leaves), "group")
        yield (
            f"network {network.name}  {network.prefix}: {groups} for nodes, "
            f"blocks of {console.many(block, 'address', 'addresses')}"
        )
        for leaf in network.leaves:
            blocks = console.many(1 << (network.block_length - leaf.prefix.length), "block")
            listed = f", {console.many(len(leaf.hosts), 'node')} listed" if leaf.hosts else ""
            yield f"  group {leaf.group}  {leaf.prefix}: {blocks}, as many nodes at most{listed}"
        for group in _split(network.tree) if network.tree else ():
            free = sum(inner.closed for inner in group.groups)
            room = f"{console.count(free)} of {console.many(len(group.groups), 'slot')} free"
            name = "its own level" if group is network.tree else f"level {group.path}"
            more = "" if free else ": one group more and it has to grow"
            yield f"  {name}: {room}{more}"


def _split(group: Group) -> Iterator[Group]:
    if group.groups:
        yield group
    for inner in group.groups:
        yield from _split(inner)
