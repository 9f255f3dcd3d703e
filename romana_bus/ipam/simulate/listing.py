"""The hosts that a topology document lists by name: which they are, and the document without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from romana_bus.ipam.topology.networks import Topology
    from romana_bus.ipam.topology.tree import Listed


def listings(topology: Topology) -> dict[str, Listed]:
    """Each name, where it is listed first."""
    found: dict[str, Listed] = {}
    for leaf in topology.leaves:
        for host in leaf.hosts:
            found.setdefault(host.name, host)
    return found


def unlisted(document: dict[str, Any], name: str) -> dict[str, Any]:
    """The document, which has been parsed, without the first listing of `name` in each map."""
    maps = [{**one, "map": _without(one["map"], name)} for one in document["topologies"]]
    return {**document, "topologies": maps}


def _without(entries: list[Any], name: str) -> list[Any]:
    """The same list where `name` is not in it."""
    for at, entry in enumerate(entries):
        if "ip" in entry:
            if entry["name"] == name:
                return entries[:at] + entries[at + 1 :]
        elif inner := entry.get("groups"):
            left = _without(inner, name)
            if left is not inner:
                return [*entries[:at], {**entry, "groups": left}, *entries[at + 1 :]]
    return entries
