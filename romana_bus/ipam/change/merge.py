"""Merges an operator's document with the topology in force, so that groups keep their prefixes.

No group's prefix moves because another group is added or removed: each group keeps its slot, a new group gets
the lowest free slot, and the slot of a removed group becomes free. A level never gets fewer slots. A full
level gets twice as many: each group keeps its base, and the lower half of its prefix. Where the document sets
`slots` or `slot`, that counts more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.inet import parse_prefix
from romana_bus.ipam.change.match import (
    NOTHING,
    Level,
    level_in,
    matched,
    predecessor,
    top,
    traits_in,
    traits_of,
)
from romana_bus.ipam.topology.slots import even, positions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from romana_bus.ipam.topology.networks import Topology

Raw = dict[str, Any]


def merge(old: Topology, document: Mapping[str, Any]) -> Raw:
    """Returns `document`, which has to be valid, with the slots that follow from `old`. Slots that it sets
    itself are kept, so a second merge changes nothing."""
    cidrs = {raw["name"]: parse_prefix(raw["cidr"]) for raw in document["networks"]}
    topologies = []
    for raw in document["topologies"]:
        before = predecessor(old, [(name, cidrs[name]) for name in raw["networks"]])
        slots, entries = _assign_slots(raw["map"], raw.get("slots"), top(before.tree if before else None))
        topologies.append(_with_slots({**raw, "map": entries}, slots))
    return {**document, "topologies": topologies}


def _assign_slots(entries: list[Raw], given: int | None, before: Level) -> tuple[int, list[Raw]]:
    """Returns how many slots the level has, and its groups with theirs. `given`: by the document."""
    matches = matched([traits_of(group) for group in before.groups], [traits_in(raw) for raw in entries])
    slots = given or max(before.slots, even(len(entries)))
    mine = {raw["slot"] for raw in entries if raw.get("slot") is not None}
    wanted = []
    for raw, place in zip(entries, matches, strict=True):
        kept = before.slot[place] * slots // before.slots if place >= 0 else -1
        wanted.append(raw["slot"] if raw.get("slot") is not None else -1 if kept in mine else kept)
    inside = [level_in(before.groups[place]) if place >= 0 else NOTHING for place in matches]
    groups = []
    for raw, slot, below in zip(entries, positions(slots, wanted), inside, strict=True):
        inner = raw.get("groups") or []
        if inner and "ip" not in inner[0]:
            count, inner_groups = _assign_slots(inner, raw.get("slots"), below)
            raw = _with_slots({**raw, "groups": inner_groups}, count)
        groups.append({**raw, "slot": slot} if slots > 1 else raw)
    return slots, groups


def _with_slots(raw: Raw, slots: int) -> Raw:
    """Sets `slots`, unless the level has a single one."""
    return {**raw, "slots": slots} if slots > 1 else raw
