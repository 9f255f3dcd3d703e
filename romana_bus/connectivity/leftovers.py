"""Namespaces of other tests: those whose test has ended without removing them, and those that may run yet."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from romana_bus.connectivity.manifests import OWNER, STARTED_BY

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A test takes minutes: what is older by this was left behind.
LONGEST = timedelta(hours=2)


class _Metadata(msgspec.Struct):
    name: str
    created: datetime = msgspec.field(name="creationTimestamp")
    annotations: dict[str, str] | None = None
    deleted: str | None = msgspec.field(name="deletionTimestamp", default=None)


class NamespaceObject(msgspec.Struct):
    """The fields of a Namespace that are used."""

    metadata: _Metadata


class Leftovers(NamedTuple):
    """Names of namespaces to remove, and texts about others that may belong to a test that runs."""

    dead: tuple[str, ...]
    others: tuple[str, ...]


def sort(found: Iterable[NamespaceObject], ours: NamespaceObject) -> Leftovers:
    """`ours`: our own namespace, whose time of creation is the API server's now."""
    dead, others = [], []
    for namespace in (each.metadata for each in found):
        notes = namespace.annotations or {}
        if namespace.name == ours.metadata.name or namespace.deleted:
            continue
        age = ours.metadata.created - namespace.created
        if age > LONGEST or has_ended(notes.get(OWNER, "")):
            dead.append(namespace.name)
        else:
            others.append(
                f"{namespace.name} is of a test by {notes.get(STARTED_BY, 'somebody')}, {age.seconds} s old: "
                f"if it does not run any more, kubectl delete namespace {namespace.name}"
            )
    return Leftovers(tuple(dead), tuple(others))


def owner() -> str:
    """Identifies this process, also against those of other machines, boots and containers."""
    return f"{_system()}/{os.getpid()}"


def started_by() -> str:
    """For a person: user, host and process."""
    user = ""
    with contextlib.suppress(KeyError, OSError):
        user = getpass.getuser()
    return f"{user or os.getuid()}@{socket.gethostname()} (process {os.getpid()})"


def has_ended(owner: str) -> bool:
    """Whether that process is known to have ended: only one of this system can be."""
    system, _, pid = owner.rpartition("/")
    if system != _system() or not pid.isascii() or not pid.isdigit() or len(pid) > 9:
        return False
    return not Path("/proc", pid).exists()


def _system() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
