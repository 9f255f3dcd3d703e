"""`romana-bus auth`: its commands. They read and write an authorization directory, and reach no server."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from romana_bus.bus.auth import directory as files
from romana_bus.bus.auth.directory import Entry, Known
from romana_bus.bus.auth.permissions import (
    AGENT,
    DECIDE,
    OPERATE,
    READ,
    THIRD_PARTY,
    WATCH,
    accounts_of,
    agent_of,
)
from romana_bus.cli.auth.view import print_change, print_identities
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.options import CLUSTER, Output
from romana_bus.cli.common.session import configure_logs
from romana_bus.errors import BadInput

Role = Literal["watcher", "ipam", "operator", "reader", "agent", "third-party", "leaf"]
#: Names of identities and nodes, which become names of files; and of consumers, which are tokens of subjects.
NAME, CONSUMER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}"), re.compile(r"[A-Za-z0-9_-]{1,64}")

app = App(name="auth", group_parameters=OPTIONS)


@app.command(sort_key=1)
def init(
    directory: Path,
    /,
    *,
    cluster: Annotated[str, Parameter(env_var="ROMANA_CLUSTER")] = "default",
    output: Output = Output(),
) -> None:
    """Create an authorization directory: a file for the NATS servers, and one for each of the identities
    watcher, ipam, reader and operator. Agents are added with `auth add`.

    Parameters
    ----------
    directory
        A new or empty directory.
    cluster
        Name of the Kubernetes cluster.
    """
    configure_logs(output)
    if not CLUSTER.fullmatch(cluster):
        raise BadInput(f"--cluster {cluster!r}: use letters, digits and '-', at most 64")
    if (directory / files.IDENTITIES).exists():
        raise BadInput(f"{directory} is an authorization directory already: `romana-bus auth add` adds to it")
    try:
        files.ensure(directory, cluster, (WATCH, DECIDE, READ, OPERATE), _now())
    except BaseException:  # what is there half would be refused at the next attempt
        with contextlib.suppress(OSError):
            (directory / files.IDENTITIES).unlink()
        raise
    print_change(directory, files.read(directory), ("watcher", "ipam", "reader", "operator"), output)


@app.command(sort_key=2)
def add(
    directory: Path,
    role: Annotated[tuple[Role, ...], Parameter(negative="")],
    /,
    *,
    name: str = "",
    node: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    consumer: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    output: Output = Output(),
) -> None:
    """Add an identity: an agent for each --node, a person, a third party, or a process with several roles.

    Parameters
    ----------
    directory
        The directory that `auth init` made.
    role
        What it does. With several roles it may do what any of them may.
    name
        Its name; by default the role's, or agent-NODE.
    node
        An agent's node, by its name in Kubernetes; repeatable.
    consumer
        The name of a third party's consumer; repeatable. By default the identity's name.
    """
    configure_logs(output)
    if not role:
        raise BadInput("no role is named: watcher, ipam, operator, reader, agent, third-party or leaf")
    if len(accounts_of(role)) > 1:
        raise BadInput(f"{' and '.join(role)} cannot be one identity: add one for each")
    wanted = _wanted(tuple(dict.fromkeys(role)), name, node, consumer)

    def change(known: Known) -> tuple[Known, dict[str, str]]:
        seeds = {}
        for entry in wanted:
            if any(other.name == entry.name for other in known.identities):
                raise BadInput(
                    f"there is an identity {entry.name} already: `auth rotate` gives it another key"
                )
            made = files.new_key(entry.name, _now())
            known = known.with_entry(msgspec.structs.replace(entry, keys=(made.key,)))
            seeds[entry.name] = made.seed
        return known, seeds

    _change(directory, change, output)


def _wanted(
    role: tuple[Role, ...], name: str, node: tuple[str, ...], consumer: tuple[str, ...]
) -> list[Entry]:
    """Raises BadInput."""
    if bool(node) != (AGENT in role):
        raise BadInput("an agent has a --node, and no other role has one")
    if consumer and THIRD_PARTY not in role:
        raise BadInput("--consumer is for the role third-party")
    for option, pattern, texts in (("--name", NAME, (name,) if name else ()), ("--node", NAME, node),
                                   ("--consumer", CONSUMER, consumer)):  # fmt: skip
        if wrong := next((text for text in texts if not pattern.fullmatch(text)), None):
            raise BadInput(f"{option} {wrong!r}: use letters, digits, '-' and '_', for a node also '.'")
    if node and not name:
        identities = [agent_of(each) for each in dict.fromkeys(node)]
        return [Entry(name=one.name, roles=role, nodes=one.nodes) for one in identities]
    name = name or role[0]
    consumers = consumer or (name,) * (THIRD_PARTY in role)
    if not all(map(CONSUMER.fullmatch, consumers)):
        raise BadInput(f"--name {name}: is no name of a consumer: give --consumer too")
    return [Entry(name=name, roles=role, nodes=node, consumers=consumers)]


@app.command(sort_key=3)
def rotate(
    directory: Path,
    name: str,
    /,
    *,
    finish: Annotated[bool, Parameter(negative="")] = False,
    output: Output = Output(),
) -> None:
    """Give an identity a new key. The old one stays valid until `auth rotate DIR NAME --finish`.

    So nothing stops: reload the servers, hand out the new file, restart its
    processes, finish, and reload the servers again.

    Parameters
    ----------
    directory
        The directory that `auth init` made.
    name
        Name of the identity.
    finish
        End the old keys.
    """
    configure_logs(output)

    def change(known: Known) -> tuple[Known, dict[str, str]]:
        entry = known.entry(name)
        if finish:
            if len(entry.keys) == 1:
                raise BadInput(f"{name} has one key: there is no old one to end")
            return known.with_entry(msgspec.structs.replace(entry, keys=entry.keys[-1:])), {}
        if len(entry.keys) > 1:
            raise BadInput(f"{name} has two keys already: end the old one first, with --finish")
        made = files.new_key(name, _now())
        return known.with_entry(msgspec.structs.replace(entry, keys=(*entry.keys, made.key))), {
            name: made.seed
        }

    _change(directory, change, output, name)


@app.command(sort_key=4)
def revoke(directory: Path, name: str, /, *, output: Output = Output()) -> None:
    """End an identity. Once the servers have read their file again, they close its connections.

    Parameters
    ----------
    directory
        The directory that `auth init` made.
    name
        Name of the identity.
    """
    configure_logs(output)

    def change(known: Known) -> tuple[Known, dict[str, str]]:
        known.entry(name)
        return known.without(name), {}

    _change(directory, change, output, name)
    files.seed_file(directory, name).unlink(missing_ok=True)


@app.command(sort_key=5)
def show(directory: Path, /, *, output: Output = Output()) -> None:
    """Show the identities: roles, nodes, keys, and where the files are.

    Parameters
    ----------
    directory
        The directory that `auth init` made.
    """
    configure_logs(output)
    print_identities(directory, files.read(directory), output)


def _change(
    directory: Path,
    change: Callable[[Known], tuple[Known, dict[str, str]]],
    output: Output,
    *names: str,
) -> None:
    """Change the directory as a whole, or not at all. `change`: returns what is to be known, and the texts of
    new seed files by name. Raises BadInput, Failed."""
    files.read(directory)  # raises BadInput before anything is created
    with files.locked(directory):
        before = files.read(directory)
        known, seeds = change(before)
        files.replace(directory, before, known, seeds)
    print_change(directory, known, names or tuple(seeds), output)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
