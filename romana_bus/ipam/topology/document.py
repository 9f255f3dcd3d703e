"""Reads Romana's topology document: returns a topology, or every problem of the document with its place."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from romana_bus.errors import BadInput
from romana_bus.events.ipam import LARGEST_BLOCK
from romana_bus.inet import V4, V6, Prefix, parse_prefix
from romana_bus.ipam.topology.networks import Network, Topology, build_network
from romana_bus.ipam.topology.pinned_limits import read_limits
from romana_bus.ipam.topology.slots import slots_in
from romana_bus.ipam.topology.special import doubtful, unusable
from romana_bus.ipam.topology.tree import MOST_PARTS, Problem, Sketch, listed, or_none, parts, read, split

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Romana's /29 where a network names no block_mask: blocks of eight addresses, in either family.
BLOCK_BITS = 3

#: The most groups of all networks together. A map that many networks share counts for each of them.
MOST_GROUPS = 1 << 20

#: No CIDR is longer. A longer value is cut in messages.
LONGEST_CIDR = 64
#: The upper bits of ::ffff:0:0/96, IPv4 addresses as IPv6 sockets show them.
MAPPED = 0xFFFF

_TENANT = re.compile(r"[a-zA-Z0-9_-]*\Z")


class BadTopology(BadInput):
    """A topology document that cannot be used. `problems`: all of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(*(f"{problem.place}: {problem.text}" for problem in self.problems))


def parse(document: Any) -> Topology:
    """Returns the topology of a document. Raises BadTopology."""
    reader = Reader(document)
    if reader.problems:
        raise BadTopology(reader.problems)
    return Topology(reader.networks)


class Reader:
    """Reads a document in one pass, and notes every problem in it. `warnings`: what is probably wrong, though
    the document can be used. `refusals`: networks that nobody may set, while one that is on the log already
    stays in force."""

    def __init__(self, document: Any) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.refusals: list[Problem] = []
        self.networks: list[Network] = []
        #: The place of each network in the document.
        self.places: list[str] = []
        self.names: set[str] = set()
        self.parts = 0
        document = document if isinstance(document, dict) else {}
        for position, raw in enumerate(self._list(document, "", "networks")):
            self._network(f"networks[{position}]", raw)
        self._overlaps()
        maps = self._list(document, "", "topologies")
        trees = self._trees(maps)
        if self._too_many(trees):
            return
        number = 0
        for position, network in enumerate(self.networks):
            if network.name in trees:
                split_network = self._split(self.places[position], number, network, trees[network.name])
                self.networks[position] = split_network
                number += len(split_network.leaves)

    def _bad(self, place: str, kind: str, text: str) -> None:
        self.problems.append(Problem(place, kind, text))

    def _list(self, raw: dict[str, Any], place: str, key: str) -> list[Any]:
        """The list under `key`, which has to have an entry."""
        value = raw.get(key)
        if not isinstance(value, list) or not value:
            self._bad(f"{place}{key}", "bad_document", "a list with at least one entry is expected")
            return []
        return value

    def _network(self, place: str, raw: Any) -> None:
        raw = raw if isinstance(raw, dict) else {}
        name, cidr, tenants = raw.get("name"), raw.get("cidr"), or_none(raw, "tenants", [])
        if not isinstance(name, str) or not name:
            self._bad(f"{place}.name", "bad_document", "a network needs a name")
            name = ""
        elif name in self.names:
            self._bad(f"{place}.name", "repeated_name", f"network {name!r} is defined already")
        self.names.add(name)
        if not isinstance(tenants, list) or not all(
            isinstance(tenant, str) and _TENANT.match(tenant) for tenant in tenants
        ):
            self._bad(f"{place}.tenants", "bad_tenant", "a list of namespaces is expected")
            tenants = []
        limits = read_limits(f"{place}.wishes", raw.get("wishes"), self._bad)
        try:
            prefix = cidr_of(cidr)
        except ValueError as error:
            self._bad(f"{place}.cidr", "bad_cidr", str(error))
            return
        length = self._block_length(f"{place}.block_mask", raw.get("block_mask"), prefix)
        if why := unusable(prefix):
            self.refusals.append(Problem(f"{place}.cidr", "unusable_cidr", f"{prefix} {why}"))
        elif why := doubtful(prefix):
            self.warnings.append(Problem(f"{place}.cidr", "doubtful_cidr", f"{prefix} {why}"))
        self.networks.append(Network(name, prefix, length, tuple(dict.fromkeys(tenants)), limits=limits))
        self.places.append(place)

    def _block_length(self, place: str, mask: Any, prefix: Prefix) -> int:
        """The length of the network's blocks. No mask, or 0, is Romana's default."""
        whole = isinstance(mask, int) and not isinstance(mask, bool)
        if mask is None or (whole and mask == 0):
            return max(prefix.width - BLOCK_BITS, prefix.length)
        lowest = max(prefix.length, prefix.width - LARGEST_BLOCK)
        if whole and lowest <= mask <= prefix.width:
            return int(mask)
        text = f"{shown(mask)}: blocks of {prefix} can have a length of {lowest} to {prefix.width}"
        self._bad(place, "bad_block_mask", text)
        return prefix.width

    def _overlaps(self) -> None:
        """Notes each network that overlaps another one, once: with the smallest network that contains it."""
        around: list[int] = []
        pairs = []
        for number in sorted(range(len(self.networks)), key=lambda n: (self.networks[n].prefix, n)):
            prefix = self.networks[number].prefix
            while around and not self.networks[around[-1]].prefix.contains(prefix):
                around.pop()
            if around:
                pairs.append((max(number, around[-1]), min(number, around[-1])))
            around.append(number)
        for later, before in sorted(pairs):
            network, other = self.networks[later], self.networks[before]
            text = f"{network.prefix} overlaps with {other.prefix} of network {other.name!r}"
            self._bad(f"{self.places[later]}.cidr", "overlap", text)

    def _too_many(self, trees: dict[str, Sketch]) -> bool:
        """Whether all networks together have too many groups."""
        sizes = {number: sketch.size for number, sketch in {id(s): s for s in trees.values()}.items()}
        total = sum(sizes[id(sketch)] for sketch in trees.values())
        if total > MOST_GROUPS:
            text = f"{total:,} groups in all networks: {MOST_GROUPS:,} at most"
            self._bad("topologies", "too_many_groups", text)
        return total > MOST_GROUPS

    def _trees(self, topologies: list[Any]) -> dict[str, Sketch]:
        """Returns the map of each network."""
        trees: dict[str, Sketch] = {}
        for position, raw in enumerate(topologies):
            place = f"topologies[{position}]"
            raw = raw if isinstance(raw, dict) else {}
            entries = [
                read(f"{place}.map[{n}]", group, self.problems)
                for n, group in enumerate(self._list(raw, f"{place}.", "map"))
            ]
            root = self._root(place, raw, entries)
            for n, name in enumerate(self._list(raw, f"{place}.", "networks")):
                entry = f"{place}.networks[{n}]"
                if not isinstance(name, str) or name not in self.names:
                    self._bad(entry, "no_network", f"network {name!r} is not defined")
                elif name in trees:
                    self._bad(entry, "repeated_network", f"network {name!r} has a map already")
                else:
                    trees[name] = root
        return trees

    def _root(self, place: str, raw: dict[str, Any], entries: list[Sketch]) -> Sketch:
        """The root of a map. A map with one entry is that entry, unless it sets `slots`."""
        slots = slots_in(raw, place, "map", [entry.slot for entry in entries], self._bad)
        if len(entries) == 1 and not slots:
            return entries[0]
        return Sketch(f"{place}.map", "/", groups=tuple(entries), slots=slots, whole=True)

    def _split(self, place: str, number: int, network: Network, sketch: Sketch) -> Network:
        before = len(self.problems)
        if self.parts <= MOST_PARTS:
            self.parts += parts(sketch)
            if self.parts > MOST_PARTS:
                text = f"the networks are split into more than {MOST_PARTS:,} prefixes"
                self._bad(sketch.place, "too_many_groups", text)
        if self.parts > MOST_PARTS:
            return network
        tree = split(sketch, network.prefix, self.problems, sketch.name or "/")
        built = build_network(number, network, tree)
        self._repeated_hosts(built)
        small = [leaf for leaf in built.leaves if leaf.prefix.length > network.block_length]
        if small and len(self.problems) == before:
            more = f", nor into {len(small) - 1:,} others" if len(small) > 1 else ""
            text = f"do not fit into group {small[0].group!r}, {small[0].prefix}{more}"
            self._bad(
                f"{place}.block_mask", "block_larger_than_group", f"blocks of /{network.block_length} {text}"
            )
        return built

    def _repeated_hosts(self, network: Network) -> None:
        """Warns of nodes that are listed twice in a tree: only the first listing counts. Romana took such
        files."""
        names: set[str] = set()
        for host in listed(network.tree) if network.tree else ():
            if host.name in names:
                text = f"{host.name} is listed earlier in the same tree: this listing does not count"
                self.warnings.append(Problem(host.place, "repeated_host", text))
            names.add(host.name)


def cidr_of(cidr: Any) -> Prefix:
    """Parses the CIDR of a network. Raises ValueError."""
    if cidr is None or cidr == "":
        raise ValueError("a network needs its CIDR")
    if not isinstance(cidr, str) or len(cidr) > LONGEST_CIDR:
        raise ValueError(f"{shown(cidr)} is not a CIDR: write it like 10.0.0.0/16")
    prefix = parse_prefix(cidr)
    if prefix.width == V6 and prefix.base >> 32 == MAPPED:
        four = Prefix(V4, prefix.base & 0xFFFFFFFF, max(prefix.length - 96, 0))
        raise ValueError(f"{cidr!r} contains IPv4 addresses: write {four}")
    return prefix


def shown(value: Any) -> str:
    """The value as it was written, cut if it is long."""
    text = json.dumps(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= LONGEST_CIDR else f"{text[:LONGEST_CIDR]}..."
