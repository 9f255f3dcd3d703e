"""Which group of a tree is which group of the tree that comes after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from romana_bus.inet import Prefix
    from romana_bus.ipam.topology.networks import Network, Topology
    from romana_bus.ipam.topology.tree import Group


class Looks(NamedTuple):
    """What a group is known by among its siblings: its name first, the nodes that it lists last."""

    name: str
    assignment: frozenset[tuple[str, str]]
    hosts: frozenset[str]


class Level(NamedTuple):
    """The groups that share one prefix, in the order of their document, each with its slot."""

    slots: int
    groups: tuple[Group, ...]
    slot: tuple[int, ...]


NOTHING = Level(0, (), ())


def level_in(group: Group) -> Level:
    """What `group` is split into."""
    slot = {inner.prefix: at for at, inner in enumerate(group.groups)}
    return Level(len(group.groups), group.open, tuple(slot[inner.prefix] for inner in group.open))


def top(tree: Group | None) -> Level:
    """The level that a map is. One of a single entry, which has the whole network, is one of one slot."""
    if tree is None:
        return NOTHING
    return level_in(tree) if tree.whole else Level(1, (tree,), (0,))


def looks_of(group: Group) -> Looks:
    return Looks(
        group.name, frozenset(group.assignment), frozenset(host.name for host in group.hosts)
    )  # fmt: skip


def looks_in(raw: Mapping[str, Any]) -> Looks:
    """Of a group in a document."""
    hosts = frozenset(entry["name"] for entry in raw.get("groups") or () if "ip" in entry)
    return Looks(raw.get("name") or "", frozenset((raw.get("assignment") or {}).items()), hosts)


def matched(old: Sequence[Looks], new: Sequence[Looks]) -> list[int]:
    """For each of `new` its place in `old`, or -1: the one of its name; else the one of the same labels;
    else the one that lists the same nodes; else the one that stood where it stands."""
    found = [-1] * len(new)
    left = dict.fromkeys(range(len(old)))
    _pair(found, left, old, new, lambda looks: looks.name)
    _pair(found, left, old, new, lambda looks: looks.assignment)
    _pair(found, left, old, new, lambda looks: looks.hosts)
    for at, other in enumerate(found):
        if other < 0 and at in left:
            found[at] = at
            del left[at]
    return found


def _pair(
    found: list[int], left: dict[int, None], old: Sequence[Looks], new: Sequence[Looks],
    trait: Callable[[Looks], object],
) -> None:  # fmt: skip
    """Those that have a trait, in order, as far as there are equals."""
    waiting: dict[object, list[int]] = {}
    for at in left:
        if trait(old[at]):
            waiting.setdefault(trait(old[at]), []).append(at)
    for at, looks in enumerate(new):
        if found[at] < 0 and (equals := waiting.get(trait(looks))):
            found[at] = equals.pop(0)
            del left[found[at]]


def predecessor(old: Topology, networks: Iterable[tuple[str, Prefix]]) -> Network | None:
    """The network with a tree that any of `networks` (name, CIDR) was: by name; else by CIDR."""
    networks = list(networks)
    planted = [network for network in old.networks if network.tree]
    by_name = {network.name: network for network in planted}
    by_prefix = {network.prefix: network for network in planted}
    found = [by_name[name] for name, _ in networks if name in by_name]
    found += [by_prefix[prefix] for _, prefix in networks if prefix in by_prefix]
    return found[0] if found else None
