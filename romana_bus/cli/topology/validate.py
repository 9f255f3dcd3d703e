"""`topology validate`: checks a file, by itself or also against what the nodes on the log live on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.common.topology_file import BadFile, Checked, check_document, read
from romana_bus.cli.topology.overlap import overlapping
from romana_bus.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from romana_bus.cli.common.options import Output
    from romana_bus.inet import Prefix
    from romana_bus.ipam import State
    from romana_bus.ipam.topology.networks import Network
    from romana_bus.ipam.topology.tree import Group


def validate(file: Path, state: State, services: tuple[Prefix, ...], output: Output) -> None:
    """Prints the problems of the file, or what it makes. `state`: with the nodes whose addresses and links no
    network may overlap. Raises BadInput where the file has errors."""
    try:
        source = read(file)
        checked = check_document(source)
        if not checked.errors:
            checked.found.extend(overlapping(source, tuple(checked.networks), state, services))
    except BadFile as error:
        checked = Checked([], error.found)
    if output.json:
        console.as_json([finding._asdict() | {"line": finding.line or None} for finding in checked.found])
    else:
        for finding in checked.found:
            console.console.print(Text(finding.said(str(file))), soft_wrap=True)
        for line in _made(checked.networks) if not checked.errors else ():
            console.console.print(Text(line))
    if checked.errors:
        raise BadInput


def _made(networks: list[Network]) -> Iterator[str]:
    """Yields what a valid file makes: groups, blocks, and free slots for later groups."""
    yield f"no errors: {console.many(len(networks), 'network')}"
    for network in networks:
        block = 1 << (network.prefix.width - network.block_length)
        groups = console.many(len(network.leaves), "group")
        yield (
            f"network {network.name}  {network.prefix}: {groups} for nodes, "
            f"blocks of {console.many(block, 'address', 'addresses')}"
        )
        yield f"  fixed and sticky addresses: {network.limits}"
        for leaf in network.leaves:
            blocks = console.many(1 << (network.block_length - leaf.prefix.length), "block")
            listed = f", {console.many(len(leaf.hosts), 'node')} listed" if leaf.hosts else ""
            yield f"  group {leaf.group}  {leaf.prefix}: {blocks}, so at most as many nodes{listed}"
        for group in _split(network.tree) if network.tree else ():
            free = sum(inner.closed for inner in group.groups)
            slots = f"{console.count(free)} of {console.many(len(group.groups), 'slot')} free"
            name = "its own level" if group is network.tree else f"level {group.path}"
            more = "" if free else ": it has to grow for another group"
            yield f"  {name}: {slots}{more}"


def _split(group: Group) -> Iterator[Group]:
    if group.groups:
        yield group
    for inner in group.groups:
        yield from _split(inner)
