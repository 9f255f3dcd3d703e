"""The tree of groups that a network's CIDR is split into.

Every level is split evenly, rounded up to a power of two. What is left over stays closed: free room
for groups added later, which no node is ever placed in. A group without groups is a leaf: nodes are
placed there, and all of them share its prefix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.inet import Prefix, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Labels = tuple[tuple[str, str], ...]

#: Groups within groups. Nobody has that many; a document that does is not walked into.
DEPTH = 32


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
    """One entry of `map` as it was written, before a network's CIDR is split over it."""

    place: str
    name: str = ""
    assignment: Labels = ()
    routing: Any = None
    groups: tuple[Sketch, ...] = ()
    hosts: tuple[Listed, ...] = ()

    @property
    def size(self) -> int:
        """How many groups it stands for, itself too."""
        return 1 + sum(inner.size for inner in self.groups)


@dataclass(frozen=True, slots=True)
class Group:
    """`path`: the names from the root on, joined by '/'. `closed`: left over by the split."""

    name: str
    path: str
    prefix: Prefix
    assignment: Labels = ()
    routing: Any = None
    groups: tuple[Group, ...] = ()
    hosts: tuple[Listed, ...] = ()
    closed: bool = False


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
    return Sketch(
        place,
        name,
        tuple(assignment.items()),
        raw.get("routing"),
        () if leaf else tuple(read(at, entry, problems) for at, entry in inner),
        tuple(_host(at, entry, problems) for at, entry in inner) if leaf else (),
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


def split(sketch: Sketch, prefix: Prefix, problems: list[Problem], path: str = "") -> Group:
    """`prefix` spread over the groups of `sketch`, all the way down."""
    bits = max(len(sketch.groups) - 1, 0).bit_length()
    length = prefix.length + bits
    if length > prefix.width:
        text = f"{len(sketch.groups)} groups do not fit into {prefix}"
        problems.append(Problem(sketch.place, "too_many_groups", text))
        length, bits = prefix.width, prefix.width - prefix.length
    parts = [Prefix(prefix.width, prefix.base + (at << (prefix.width - length)), length)
             for at in range(1 << bits if sketch.groups else 0)]  # fmt: skip
    groups = []
    for at, part in enumerate(parts):
        if at < len(sketch.groups):
            inner = sketch.groups[at]
            groups.append(split(inner, part, problems, _join(path, inner.name or str(at))))
        else:
            groups.append(Group("", _join(path, str(at)), part, closed=True))
    return Group(
        sketch.name, path, prefix, sketch.assignment, sketch.routing, tuple(groups), sketch.hosts
    )  # fmt: skip


def listed(group: Group) -> Iterator[Listed]:
    """The nodes that the tree names, in order, as often as it does."""
    yield from group.hosts
    for inner in group.groups:
        yield from listed(inner)


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
