"""The tree of groups that a network's CIDR is split into.

Each level is split evenly into slots, a power of two of them (`slots.py`). Slots without a group are closed:
they are kept for later groups, and no node is placed in them. A group without groups is a leaf: nodes are
placed in it, and share its prefix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.inet import Prefix, parse_address
from romana_bus.ipam.topology.slots import even, positions, slot_in, slots_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Labels = tuple[tuple[str, str], ...]

#: The deepest nesting of groups that is read.
DEPTH = 32
#: The most prefixes of all networks together, with the closed ones. A short document can define more of them
#: than fit into memory.
MOST_PARTS = 1 << 18


class Problem(NamedTuple):
    """A problem at one place of a topology document. `kind` is for programs."""

    place: str
    kind: str
    text: str


class Listed(NamedTuple):
    """A node that a leaf lists by name: it belongs there, with any labels."""

    name: str
    ip: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Sketch:
    """A group as the document has it, before a network's CIDR is split; or, if `whole`, a map with several
    entries. `slots`: 0, and `slot`: -1, where the document does not set them."""

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
        """The number of groups in it, with itself."""
        return 1 + sum(inner.size for inner in self.groups)


@dataclass(frozen=True, slots=True)
class Group:
    """A group with its prefix. `path`: the names from the root on, joined by '/'. `groups`: one for each
    slot. `closed`: a slot without a group. `whole`: a map with several entries. `place`: its place in its
    list."""

    name: str
    path: str
    prefix: Prefix
    assignment: Labels = ()
    routing: Any = None
    groups: tuple[Group, ...] = ()
    hosts: tuple[Listed, ...] = ()
    closed: bool = False
    whole: bool = False
    place: int = 0

    @property
    def open(self) -> tuple[Group, ...]:
        """The groups in it that are not closed, in the order of the document."""
        return tuple(sorted((group for group in self.groups if not group.closed), key=_order))


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

    @property
    def blocks(self) -> int:
        """The number of blocks that it has room for."""
        return 1 << (self.block_length - self.prefix.length)

    def admits(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key, "") == value for key, value in self.needs)


def read(place: str, raw: Any, problems: list[Problem]) -> Sketch:
    """Reads one group of a document. A value that cannot be read is noted in `problems` and left out."""

    def note(where: str, kind: str, text: str) -> None:
        problems.append(Problem(where, kind, text))

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
    inner = [(f"{place}.groups[{number}]", entry) for number, entry in enumerate(entries)]
    groups = () if leaf else tuple(read(where, entry, problems) for where, entry in inner)
    return Sketch(
        place,
        name,
        tuple(assignment.items()),
        raw.get("routing"),
        groups,
        tuple(_host(where, entry, problems) for where, entry in inner) if leaf else (),
        slots_in(raw, place, "groups", [group.slot for group in groups], note),
        slot_in(raw, place, note),
    )


def or_none(raw: dict[str, Any], key: str, nothing: Any) -> Any:
    """The value under `key`; `nothing` where it is missing or `null`."""
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
    """How many prefixes it is split into, with the closed ones."""
    slots = (sketch.slots or even(len(sketch.groups))) if sketch.groups else 0
    return slots + sum(parts(inner) for inner in sketch.groups)


def split(sketch: Sketch, prefix: Prefix, problems: list[Problem], path: str = "", place: int = 0) -> Group:
    """Splits `prefix` into the groups of `sketch`, at all levels."""
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
        whole=sketch.whole, place=place,
    )  # fmt: skip


def listed(group: Group) -> Iterator[Listed]:
    """Yields the nodes that the tree lists by name, in order, each as often as it is listed."""
    yield from group.hosts
    for inner in group.groups:
        yield from listed(inner)


def _order(group: Group) -> tuple[int, Prefix]:
    return group.place, group.prefix


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path and path != "/" else name


def leaves(group: Group, above: Labels = ()) -> Iterator[tuple[Group, Labels]]:
    """Yields each leaf that is not closed, in order, with all labels that it needs of a node."""
    needs = above + group.assignment
    if group.groups:
        for inner in group.groups:
            yield from leaves(inner, needs)
    elif not group.closed:
        yield group, needs
