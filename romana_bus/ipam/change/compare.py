"""Compares two topologies group by group: which groups stay, change their prefix, are new, or end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from romana_bus.ipam.change.match import NOTHING, Level, level_in, matched, top, traits_of
from romana_bus.ipam.topology.pinned_limits import PinnedLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam.topology.networks import Network, Topology
    from romana_bus.ipam.topology.tree import Group


class NetworkChange(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: kept, changed, opened or ended. Fields that begin with `was_` are the network as it is now; ''
    or 0 for a new network."""

    kind: str
    network: str
    was_network: str = ""
    prefix: str = ""
    was_prefix: str = ""
    block_mask: int = 0
    was_block_mask: int = 0
    tenants: tuple[str, ...] = ()
    was_tenants: tuple[str, ...] = ()
    limits: PinnedLimits | None = None
    was_limits: PinnedLimits | None = None


class GroupChange(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: kept, moved, shrunk, grown, opened or ended. `group`: its path. The path and the labels can
    change in a group that is kept."""

    kind: str
    network: str
    group: str
    was_group: str = ""
    prefix: str = ""
    was_prefix: str = ""
    needs: dict[str, str] = {}
    was_needs: dict[str, str] = {}
    leaf: bool = True

    @property
    def renamed(self) -> bool:
        return self.kind not in ("opened", "ended") and self.group != self.was_group

    @property
    def relabelled(self) -> bool:
        return self.kind not in ("opened", "ended") and self.needs != self.was_needs


class SlotGrowth(msgspec.Struct, frozen=True, kw_only=True):
    """A level gets another number of slots. `group`: the group that it splits; '' for the network itself."""

    network: str
    group: str
    groups: int
    slots: int
    was_slots: int


class Pair(NamedTuple):
    """A group as it is now, and as it would be; None where it does not exist."""

    was: Group | None
    now: Group | None


class Comparison:
    """What changes from `old` to `new`. `successors`: (network, prefix) of an old group -> the same group in
    the new topology. `names`: old name of a network -> its new name."""

    def __init__(self, old: Topology, new: Topology) -> None:
        self.networks: list[NetworkChange] = []
        self.groups: list[GroupChange] = []
        self.growths: list[SlotGrowth] = []
        self.successors: dict[tuple[str, str], Group] = {}
        self.names: dict[str, str] = {}
        pairs = list(_networks(old, new))
        self.names = {was.name: now.name for was, now in pairs if was and now}
        for was, now in pairs:
            self.networks.append(_network(was, now))
            name = now.name if now else was.name if was else ""
            self._level(name, was, "", top(was.tree if was else None), top(now.tree if now else None))

    def _level(self, network: str, before: Network | None, group: str, was: Level, now: Level) -> None:
        if was.slots and now.slots and was.slots != now.slots:
            self.growths.append(
                SlotGrowth(
                    network=network, group=group, groups=len(was.groups), slots=now.slots, was_slots=was.slots
                )
            )
        matches = matched([traits_of(old) for old in was.groups], [traits_of(new) for new in now.groups])
        for place, new in zip(matches, now.groups, strict=True):
            self._group(network, before, Pair(was.groups[place] if place >= 0 else None, new))
        kept = set(matches)
        for place, old in enumerate(was.groups):
            if place not in kept:
                self._group(network, before, Pair(old, None))

    def _group(self, network: str, before: Network | None, pair: Pair) -> None:
        self.groups.append(_group(network, pair))
        was, now = pair
        if was and now and before:
            self.successors[before.name, str(was.prefix)] = now
        known = now or was
        below = [level_in(group) if group else NOTHING for group in pair]
        self._level(network, before, known.path if known else "", *below)


def _networks(old: Topology, new: Topology) -> Iterator[tuple[Network | None, Network | None]]:
    """Pairs the networks of both topologies: by name, else by CIDR."""
    left = {network.name: network for network in old.networks}
    same_name = {network.name: left.pop(network.name) for network in new.networks if network.name in left}
    by_prefix = {network.prefix: network for network in left.values()}
    for network in new.networks:
        was = same_name.get(network.name) or by_prefix.pop(network.prefix, None)
        if was:
            left.pop(was.name, None)
        yield was, network
    for network in left.values():
        yield network, None


def _network(was: Network | None, now: Network | None) -> NetworkChange:
    new_fields = {} if now is None else {
        "prefix": str(now.prefix), "block_mask": now.block_length, "tenants": now.tenants,
        "limits": now.limits,
    }  # fmt: skip
    old_fields = {} if was is None else {
        "was_network": was.name, "was_prefix": str(was.prefix), "was_block_mask": was.block_length,
        "was_tenants": was.tenants, "was_limits": was.limits,
    }  # fmt: skip
    if now is None or was is None:
        kind = "opened" if now else "ended"
    else:
        same = all(getattr(was, part) == getattr(now, part)
                   for part in ("name", "prefix", "block_length", "tenants", "limits"))  # fmt: skip
        kind = "kept" if same else "changed"
    name = now.name if now else was.name if was else ""
    return msgspec.convert({"kind": kind, "network": name, **new_fields, **old_fields}, NetworkChange)


def _group(network: str, pair: Pair) -> GroupChange:
    was, now = pair
    new_fields = {} if now is None else {"prefix": str(now.prefix), "needs": dict(now.assignment)}
    old_fields = {} if was is None else {
        "was_group": was.path, "was_prefix": str(was.prefix), "was_needs": dict(was.assignment)
    }  # fmt: skip
    group = now or was
    assert group is not None
    fields = {"network": network, "group": group.path, "leaf": not group.groups, **new_fields, **old_fields}
    return msgspec.convert({"kind": _kind(was, now), **fields}, GroupChange)


def _kind(was: Group | None, now: Group | None) -> str:
    if was is None or now is None:
        return "ended" if was else "opened"
    if was.prefix == now.prefix:
        return "kept"
    if was.prefix.contains(now.prefix):
        return "shrunk"
    return "grown" if now.prefix.contains(was.prefix) else "moved"
