"""The document that follows the topology in force: what an operator wrote, and where everything is.

No group's prefix moves because another one came or went. So each group keeps the slot that it has, one
that is new gets a free one, the lowest, and the slot of one that went is free. A level never has fewer
slots than before. Where it is full, it gets twice as many: every group of it keeps its base, and the
lower half of its prefix. What the document itself says (`slots`, `slot`) counts more than what was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.inet import parse_prefix
from romana_bus.ipam.change.match import (
    NOTHING,
    Level,
    level_in,
    looks_in,
    looks_of,
    matched,
    predecessor,
    top,
)
from romana_bus.ipam.topology.slots import even, positions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from romana_bus.ipam.topology.networks import Topology

Raw = dict[str, Any]


def succeed(old: Topology, document: Mapping[str, Any]) -> Raw:
    """`document`, which has to be a good one, with the slots that follow from `old`. What is there
    already is not touched, so succeeding twice changes nothing."""
    cidrs = {raw["name"]: parse_prefix(raw["cidr"]) for raw in document["networks"]}
    topologies = []
    for raw in document["topologies"]:
        before = predecessor(old, [(name, cidrs[name]) for name in raw["networks"]])
        slots, entries = _settled(raw["map"], raw.get("slots"), top(before.tree if before else None))
        topologies.append(_said({**raw, "map": entries}, slots))
    return {**document, "topologies": topologies}


def _settled(entries: list[Raw], said: int | None, before: Level) -> tuple[int, list[Raw]]:
    """How many slots the level has now, and its groups with theirs."""
    found = matched([looks_of(group) for group in before.groups], [looks_in(raw) for raw in entries])
    slots = said or max(before.slots, even(len(entries)))
    mine = {raw["slot"] for raw in entries if raw.get("slot") is not None}
    wanted = []
    for raw, at in zip(entries, found, strict=True):
        kept = before.slot[at] * slots // before.slots if at >= 0 else -1
        wanted.append(raw["slot"] if raw.get("slot") is not None else -1 if kept in mine else kept)
    inside = [level_in(before.groups[at]) if at >= 0 else NOTHING for at in found]
    settled = []
    for raw, slot, below in zip(entries, positions(slots, wanted), inside, strict=True):
        inner = raw.get("groups") or []
        if inner and "ip" not in inner[0]:
            count, groups = _settled(inner, raw.get("slots"), below)
            raw = _said({**raw, "groups": groups}, count)
        settled.append({**raw, "slot": slot} if slots > 1 else raw)
    return slots, settled


def _said(raw: Raw, slots: int) -> Raw:
    """Of a single slot there is nothing to say."""
    return {**raw, "slots": slots} if slots > 1 else raw
