"""What others have set up on a node that keeps packets of pods from our routes: firewalls that drop what they
do not accept, ip rules before the main table, a missing default route. Pure: `netlink/foreign` reads it.

All of it is told, and nothing is changed: it belongs to somebody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import V4, V6

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from romana_bus.inet import Prefix

#: A comment of firewall rules. A table that has it in one of its rules counts as one that accepts packets of
#: pods: what other rules accept is not read.
ACCEPTED = "pods-of-romana-bus"
#: Tables of the kernel, and how `ip rule` names them.
MAIN, LOCAL = 254, 255
_TABLES = {253: "default", MAIN: "main", LOCAL: "local"}
LOOKUP = "lookup"
#: What rules do with a packet, besides a lookup, that keeps it from its pod.
_REFUSING = ("blackhole", "unreachable", "prohibit")
#: How many prefixes of pods a text names.
_NAMED = 3


class Chain(NamedTuple):
    """A chain that all forwarded packets pass, and that drops those that no rule accepts. `family`: ip, ip6
    or inet. `legacy`: of iptables-legacy, not of nftables. `accepts_pods`: whether a rule of its table has
    the comment ACCEPTED."""

    family: str
    table: str
    name: str
    legacy: bool = False
    accepts_pods: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        return {"ip": (V4,), "ip6": (V6,)}.get(self.family, (V4, V6))


class Rule(NamedTuple):
    """An ip rule. `action`: as `ip rule` names it. `source`, `destination`: None for all. `inverted`: it
    matches what its selectors do not. `selective`: it only matches packets that have a mark, are sent by a
    process, or belong to a VRF; pods' packets are none of them. `link`: the one by which packets come in, or
    ''. `suppressed`: the lookup ignores routes whose prefix is at most so long; -1: none."""

    width: int
    priority: int
    action: str = LOOKUP
    table: int = 0
    source: Prefix | None = None
    destination: Prefix | None = None
    inverted: bool = False
    selective: bool = False
    link: str = ""
    suppressed: int = -1

    def __str__(self) -> str:
        words = ["not"] * self.inverted + ["from", str(self.source or "all")]
        words += ["to", str(self.destination)] if self.destination else []
        words += ["iif", self.link] if self.link else []
        words += ["..."] * self.selective
        words += (
            [LOOKUP, _TABLES.get(self.table, str(self.table))] if self.action == LOOKUP else [self.action]
        )
        return " ".join(words)


class Foreign(NamedTuple):
    """What the kernel has. `rules`: sorted by priority. `tables`: (width, table) -> the prefixes of its
    routes, for tables that `rules` look up, except main and local. `defaults`: the widths of the families
    that have a default route."""

    chains: tuple[Chain, ...] = ()
    rules: tuple[Rule, ...] = ()
    tables: Mapping[tuple[int, int], frozenset[Prefix]] = {}
    defaults: frozenset[int] = frozenset()


class Obstacle(NamedTuple):
    """`found`: what there is. `meaning`: what that does to pods. `remedy`: what to do. `is_note`: it only
    matters where pods need what is missing."""

    found: str
    meaning: str
    remedy: str
    is_note: bool = False

    def __str__(self) -> str:
        return f"{self.found}: {self.meaning}; {self.remedy}"


def obstacles(foreign: Foreign, pods: Sequence[Prefix], by_default: int = 0) -> list[Obstacle]:
    """What is in the way. `pods`: the prefixes of all pods that the node knows of; a family that has none
    does not matter. `by_default`: how many blocks of other nodes are reached by the default route."""
    widths = sorted({prefix.width for prefix in pods})
    return [
        *_chains(foreign.chains, widths),
        *(each for width in widths for each in _rules(foreign, [one for one in pods if one.width == width])),
        *(_no_default(width, by_default) for width in widths if width not in foreign.defaults),
    ]


def _chains(chains: Iterable[Chain], widths: list[int]) -> Iterator[Obstacle]:
    for chain in chains:
        if chain.accepts_pods or not (matter := [width for width in chain.widths if width in widths]):
            continue
        families = " and ".join(_family(width) for width in matter)
        if chain.legacy or chain[:3] in (("ip", "filter", "FORWARD"), ("ip6", "filter", "FORWARD")):
            tool = ("iptables" if chain.family == "ip" else "ip6tables") + "-legacy" * chain.legacy
            found = f"the policy of FORWARD is DROP ({tool})"
            command = f"{tool} -I FORWARD $i rb+ -m comment --comment {ACCEPTED} -j ACCEPT"
            links = "-i -o"
        else:
            place = f"{chain.family} {chain.table} {chain.name}"
            found = f"the policy of the nftables chain {place} is drop, at the hook forward"
            command = f"nft insert rule {place} $i '\"rb*\"' accept comment '\"{ACCEPTED}\"'"
            links = "iifname oifname"
        yield Obstacle(
            found,
            f"{families} packets of pods are dropped where no rule accepts them",
            f"accept them: for i in {links}; do {command}; done",
        )


def _rules(foreign: Foreign, pods: list[Prefix]) -> Iterator[Obstacle]:
    """What comes before the lookup in the main table, of one family. `pods`: not empty."""
    width, left = pods[0].width, pods
    for rule in foreign.rules:
        if rule.width != width:
            continue
        if rule.action == LOOKUP and rule.table == MAIN:
            left = [prefix for prefix in left if not _leads_to_main(rule, prefix)]
            if not left:
                return
            continue
        taken = [prefix for prefix in left if _matches(rule, prefix)]
        if meaning := _meaning(rule, taken, foreign.tables.get((width, rule.table), frozenset())):
            yield _earlier(rule, taken, meaning)
    yield Obstacle(
        f"no {_ip(width)} rule looks up the main table for all packets",
        f"{_family(width)} packets to pods do not find our routes",
        f"add it: {_ip(width)} rule add lookup main pref 32766",
    )


def _earlier(rule: Rule, pods: list[Prefix], meaning: str) -> Obstacle:
    command, before = _ip(rule.width), max(rule.priority - 1, 0)
    passes = [f"{command} rule add to {prefix} lookup main pref {before}" for prefix in pods[:_NAMED]]
    return Obstacle(
        f"{command} rule {rule.priority} ({rule}) comes before the main table",
        meaning,
        f"remove it, or let packets to pods pass by it: {'; '.join(passes)}",
    )


def _leads_to_main(rule: Rule, pods: Prefix) -> bool:
    """Whether every packet to these pods is looked up in the main table by this rule."""
    everything = rule.source is None and not (rule.inverted or rule.selective or rule.link)
    within = rule.destination is None or rule.destination.contains(pods)
    return everything and within and rule.suppressed < pods.length


def _matches(rule: Rule, pods: Prefix) -> bool:
    """Whether packets between these pods may match it."""
    if rule.inverted:
        return True
    ends = (end for end in (rule.source, rule.destination) if end is not None)
    return not rule.selective and all(end.overlaps(pods) for end in ends)


def _meaning(rule: Rule, pods: list[Prefix], routes: Iterable[Prefix]) -> str:
    """What it does to packets to these pods, or ''. `routes`: of its table."""
    if rule.action in _REFUSING and pods:
        return f"the kernel refuses packets of pods ({rule.action})"
    if rule.action == LOOKUP:
        for route in sorted(routes):
            if route.length > rule.suppressed and any(route.overlaps(prefix) for prefix in pods):
                table = _TABLES.get(rule.table, str(rule.table))
                return f"packets to pods take the route to {route} in table {table} instead of ours"
    return ""


def _no_default(width: int, by_default: int) -> Obstacle:
    others = f", and {by_default:,} blocks of pods on other nodes" if by_default else ""
    return Obstacle(
        f"no {_family(width)} default route",
        f"pods cannot reach what is outside of the cluster{others}",
        f"add it if they need to: {_ip(width)} route add default via GATEWAY",
        is_note=not by_default,
    )


def _family(width: int) -> str:
    return "IPv4" if width == V4 else "IPv6"


def _ip(width: int) -> str:
    """The command of that family."""
    return "ip" if width == V4 else "ip -6"
