"""What the commands of `auth` print. Never a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.bus.auth.directory import LEAF, SERVER, seed_file
from romana_bus.cli.common import console

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from romana_bus.bus.auth.directory import Entry, Known
    from romana_bus.cli.common.options import Output

RELOAD = (
    "Let each NATS server read {file} again: nats-server --signal reload=PID. Connections stay, except those "
    "of keys that ended."
)


def print_change(directory: Path, known: Known, names: Sequence[str], output: Output) -> None:
    """What has changed, and what the user has to do. `names`: of the identities that changed."""
    if output.json:
        console.as_json(_document(directory, known) | {"changed": list(names)})
        return
    left = {entry.name: entry for entry in known.identities}
    for name in names:
        what = f"{', '.join(left[name].roles)}: {seed_file(directory, name)}" if name in left else "revoked"
        if name in left and len(left[name].keys) > 1:
            what += f" (new key; `romana-bus auth rotate {directory} {name} --finish` ends the old one)"
        console.console.print(f"{name}  {what}", soft_wrap=True)
    console.hint(RELOAD.format(file=directory / SERVER))


def print_identities(directory: Path, known: Known, output: Output) -> None:
    if output.json:
        console.as_json(_document(directory, known))
        return
    table = console.table("identity", "roles", "nodes", "consumers", "keys", "newest key", right=("keys",))
    for entry in known.identities:
        cells = (entry.roles, entry.nodes, entry.consumers)
        made = entry.keys[-1].made if entry.keys else ""
        table.add_row(entry.name, *(", ".join(cell) for cell in cells), str(len(entry.keys)), made)
    console.section(f"cluster {known.cluster}: {directory}", table)
    console.hint(f"servers include {directory / SERVER}, leaf nodes {directory / LEAF}")


def _document(directory: Path, known: Known) -> dict[str, Any]:
    return {
        "cluster": known.cluster,
        "server": str(directory / SERVER),
        "leaf": str(directory / LEAF),
        "identities": [_identity(directory, entry) for entry in known.identities],
    }


def _identity(directory: Path, entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "roles": entry.roles,
        "nodes": entry.nodes,
        "consumers": entry.consumers,
        "account": entry.identity.account,
        "keys": [{"public": key.public, "made": key.made} for key in entry.keys],
        "file": str(seed_file(directory, entry.name)),
    }
