"""The tree of groups that a network's CIDR is split into.

Every level is split evenly into slots, a power of two of them (`slots.py`). What is left over stays
closed: free room for groups added later, which no node is ever placed in. A group without groups is a
leaf: nodes are placed there, and all of them share its prefix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.inet import Prefix, parse_address
from romana_bus.ipam.topology.slots import even, positions, slot_in, slots_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Labels = tuple[tuple[str, str], ...]

#: Groups within groups. Nobody has that many; a document that does is not walked into.
DEPTH = 32
#: Prefixes that the groups of all networks have, closed ones among them. A short document can ask for
#: more of them than any machine holds.
MOST_PARTS = 1 << 18


class Problem(NamedTuple):
    """What is wrong at one place of a topology document. `kind` is for programs."""

    place: str
    kind: str
    text: str


class Listed(NamedTuple):
    """A node that a leaf names: it belongs there whatever its labels are."""

    name: str
    ip: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Sketch:
    """One entry of `map` as it was written, before a network's CIDR is split over it; or, `whole`, a map
    of several entries. `slots`: 0 where it does not say; `slot`: -1 where it does not."""

    place: str
    name: str = ""
    assignment: Labels = ()
    routing: Any = None
    groups: tuple[Sketch, ...] = ()
    hosts: tuple[Listed, ...] = ()
    slots: int = 0
    slot: int = -1
    whole: bool = False

    @property
    def size(self) -> int:
        """How many groups it stands for, itself too."""
        return 1 + sum(inner.size for inner in self.groups)


@dataclass(frozen=True, slots=True)
class Group:
    """`path`: the names from the root on, joined by '/'. `groups`: one for each slot. `closed`: left over
    by the split. `whole`: a map of several entries, and none of them. `at`: its place in its list."""

    name: str
    path: str
    prefix: Prefix
    assignment: Labels = ()
    routing: Any = None
    groups: tuple[Group, ...] = ()
    hosts: tuple[Listed, ...] = ()
    closed: bool = False
    whole: bool = False
    at: int = 0

    @property
    def open(self) -> tuple[Group, ...]:
        """The groups in it that are some group's, in the order of the document."""
        return tuple(sorted((group for group in self.groups if not group.closed), key=_at))


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A group that nodes are placed in. `needs`: its assignment and those of all groups above it."""

    number: int
    network: str
    group: str
    prefix: Prefix
    block_length: int
    needs: Labels = ()
    routing: Any = None
    hosts: tuple[Listed, ...] = field(default=())

    def admits(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key, "") == value for key, value in self.needs)


def read(place: str, raw: Any, problems: list[Problem]) -> Sketch:
    """One group of a document. What cannot be read is noted, and read as if it were not there."""

    def note(at: str, kind: str, text: str) -> None:
        problems.append(Problem(at, kind, text))

    def bad(key: str, kind: str, text: str) -> None:
        problems.append(Problem(f"{place}.{key}" if key else place, kind, text))

    if not isinstance(raw, dict) or place.count(".groups[") > DEPTH:
        bad("", "bad_document", f"a group is an object with `groups`, at most {DEPTH} deep")
        return Sketch(place)
    if "ip" in raw:
        bad("", "mixed_groups", "a host is listed inside the `groups` of a group, and not beside groups")
        return Sketch(place)
    if "hosts" in raw:
        bad("hosts", "bad_document", "hosts are listed in `groups`, as {name, ip}")
    name, entries = or_none(raw, "name", ""), or_none(raw, "groups", [])
    assignment = or_none(raw, "assignment", {})
    if not isinstance(name, str):
        bad("name", "bad_document", "a name is a string")
        name = ""
    if not isinstance(entries, list):
        bad("groups", "bad_document", "a list is expected")
        entries = []
    if not isinstance(assignment, dict) or not all(isinstance(v, str) for v in assignment.values()):
        bad("assignment", "bad_assignment", "labels and their values, all strings, are expected")
        assignment = {}
    leaf = bool(entries) and isinstance(entries[0], dict) and "ip" in entries[0]
    inner = [(f"{place}.groups[{at}]", entry) for at, entry in enumerate(entries)]
    groups = () if leaf else tuple(read(at, entry, problems) for at, entry in inner)
    return Sketch(
        place,
        name,
        tuple(assignment.items()),
        raw.get("routing"),
        groups,
        tuple(_host(at, entry, problems) for at, entry in inner) if leaf else (),
        slots_in(raw, place, "groups", [group.slot for group in groups], note),
        slot_in(raw, place, note),
    )


def or_none(raw: dict[str, Any], key: str, nothing: Any) -> Any:
    """What is there, if anything: `null` is nothing, and 0, false and '' are not."""
    value = raw.get(key)
    return nothing if value is None else value


def _host(place: str, raw: Any, problems: list[Problem]) -> Listed:
    if not isinstance(raw, dict) or "ip" not in raw or raw.get("groups"):
        problems.append(Problem(place, "mixed_groups", "hosts and groups cannot share a list"))
        return Listed("", "")
    name, ip = raw.get("name"), raw["ip"]
    if not name or not isinstance(name, str):
        problems.append(Problem(f"{place}.name", "bad_host", "a host needs the name of its node"))
        name = ""
    try:
        parse_address(ip if isinstance(ip, str) else "")
    except ValueError:
        problems.append(Problem(f"{place}.ip", "bad_host", f"{ip!r} is not an IP address"))
    return Listed(name, str(ip), place)


def parts(sketch: Sketch) -> int:
    """How many prefixes it is split into, closed ones among them."""
    slots = (sketch.slots or even(len(sketch.groups))) if sketch.groups else 0
    return slots + sum(parts(inner) for inner in sketch.groups)


def split(sketch: Sketch, prefix: Prefix, problems: list[Problem], path: str = "", at: int = 0) -> Group:
    """`prefix` spread over the groups of `sketch`, all the way down."""
    slots = sketch.slots or even(len(sketch.groups))
    length = prefix.length + slots.bit_length() - 1
    if length > prefix.width:
        what = f"{slots} slots" if sketch.slots else f"{len(sketch.groups)} groups"
        problems.append(Problem(sketch.place, "too_many_groups", f"{what} do not fit into {prefix}"))
        length = prefix.width
    groups = []
    places = positions(slots, [inner.slot for inner in sketch.groups])
    owner = {slot: n for n, slot in enumerate(places)}
    for slot in range(1 << (length - prefix.length) if sketch.groups else 0):
        part = Prefix(prefix.width, prefix.base + (slot << (prefix.width - length)), length)
        if slot in owner:
            inner = sketch.groups[owner[slot]]
            name = _join(path, inner.name or str(slot))
            groups.append(split(inner, part, problems, name, owner[slot]))
        else:
            groups.append(Group("", _join(path, str(slot)), part, closed=True))
    return Group(
        sketch.name, path, prefix, sketch.assignment, sketch.routing, tuple(groups), sketch.hosts,
        whole=sketch.whole, at=at,
    )  # fmt: skip


def listed(group: Group) -> Iterator[Listed]:
    """The nodes that the tree names, in order, as often as it does."""
    yield from group.hosts
    for inner in group.groups:
        yield from listed(inner)


def _at(group: Group) -> tuple[int, Prefix]:
    return group.at, group.prefix


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path and path != "/" else name


def leaves(group: Group, above: Labels = ()) -> Iterator[tuple[Group, Labels]]:
    """Each open leaf, in order, with everything that it asks of a node."""
    needs = above + group.assignment
    if group.groups:
        for inner in group.groups:
            yield from leaves(inner, needs)
    elif not group.closed:
        yield group, needs
