"""Matches the groups of a topology with the groups of the one that follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from romana_bus.inet import Prefix
    from romana_bus.ipam.topology.networks import Network, Topology
    from romana_bus.ipam.topology.tree import Group


class Traits(NamedTuple):
    """What identifies a group among its siblings: its name, else its labels, else the nodes that it lists."""

    name: str
    assignment: frozenset[tuple[str, str]]
    hosts: frozenset[str]


class Level(NamedTuple):
    """The groups that split one prefix, in the order of the document. `slot`: the slot of each."""

    slots: int
    groups: tuple[Group, ...]
    slot: tuple[int, ...]


NOTHING = Level(0, (), ())


def level_in(group: Group) -> Level:
    """The level that `group` is split into."""
    slot = {inner.prefix: number for number, inner in enumerate(group.groups)}
    return Level(len(group.groups), group.open, tuple(slot[inner.prefix] for inner in group.open))


def top(tree: Group | None) -> Level:
    """The top level of a network's map. A map with one entry, which has the whole network, has one slot."""
    if tree is None:
        return NOTHING
    return level_in(tree) if tree.whole else Level(1, (tree,), (0,))


def traits_of(group: Group) -> Traits:
    hosts = frozenset(host.name for host in group.hosts)
    return Traits(group.name, frozenset(group.assignment), hosts)


def traits_in(raw: Mapping[str, Any]) -> Traits:
    """The traits of a group as a document has it."""
    hosts = frozenset(entry["name"] for entry in raw.get("groups") or () if "ip" in entry)
    return Traits(raw.get("name") or "", frozenset((raw.get("assignment") or {}).items()), hosts)


def matched(old: Sequence[Traits], new: Sequence[Traits]) -> list[int]:
    """Returns for each group of `new` its place in `old`, or -1. Groups match by name; else by labels; else
    by the nodes that they list; else by their place."""
    matches = [-1] * len(new)
    left = dict.fromkeys(range(len(old)))
    _pair(matches, left, old, new, lambda traits: traits.name)
    _pair(matches, left, old, new, lambda traits: traits.assignment)
    _pair(matches, left, old, new, lambda traits: traits.hosts)
    for place, match in enumerate(matches):
        if match < 0 and place in left:
            matches[place] = place
            del left[place]
    return matches


def _pair(
    matches: list[int], left: dict[int, None], old: Sequence[Traits], new: Sequence[Traits],
    trait: Callable[[Traits], object],
) -> None:  # fmt: skip
    """Matches the groups with the same value of one trait, in order."""
    waiting: dict[object, list[int]] = {}
    for place in left:
        if trait(old[place]):
            waiting.setdefault(trait(old[place]), []).append(place)
    for place, traits in enumerate(new):
        if matches[place] < 0 and (equals := waiting.get(trait(traits))):
            matches[place] = equals.pop(0)
            del left[matches[place]]


def predecessor(old: Topology, networks: Iterable[tuple[str, Prefix]]) -> Network | None:
    """The old network with a tree that one of `networks` (name, CIDR) continues: by name; else by CIDR."""
    networks = list(networks)
    with_tree = [network for network in old.networks if network.tree]
    by_name = {network.name: network for network in with_tree}
    by_prefix = {network.prefix: network for network in with_tree}
    matches = [by_name[name] for name, _ in networks if name in by_name]
    matches += [by_prefix[prefix] for _, prefix in networks if prefix in by_prefix]
    return matches[0] if matches else None
