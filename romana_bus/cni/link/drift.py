"""Pods' links as they should be, compared with the kernel: what others changed on the node's side, and how it
is made right. Pure; `mend.py` reads and writes the kernel.

The pod's side is the pod's own: plugins after ours and programs with NET_ADMIN change it on purpose. CHECK
compares it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.cni.link.veth import GATEWAY
from romana_bus.inet import format_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from romana_bus.cni.link.veth import Veth
    from romana_bus.netlink.pod_links import HostEnd

#: (width, value)
Address = tuple[int, int]

#: What may be wrong with a link, as a label of a metric.
DOWN, SETTINGS, GATEWAYS, ROUTES = "link down", "link settings", "gateway", "route"


class Wanted(NamedTuple):
    """A link that should exist. `routed`: the addresses that the node routes to it: of two sandboxes of one
    pod, only the newer one has the routes."""

    veth: Veth
    routed: tuple[Address, ...]


class Actual(NamedTuple):
    """What the kernel has. `ends`: by name. `gateways`: width -> the links on which the node has the pods'
    gateway: a proxy neighbour entry (IPv4), an address (IPv6). `slow`: links whose proxy_delay is not 0.
    `routes`: address -> the links to which it is routed with our protocol."""

    ends: Mapping[str, HostEnd]
    gateways: Mapping[int, frozenset[int]]
    slow: frozenset[str]
    routes: Mapping[Address, frozenset[int]]


class Drift(NamedTuple):
    """What is wrong with one link, as what has to be done. `sysctls`: names below /proc/sys/net -> value.
    `down`: it has to be set up. `forward`: forwarding and rp_filter have to be set. `gateways`: widths whose
    gateway has to be added. `astray`: routes to be removed, with the link to which each leads. `missing`:
    addresses that have to be routed."""

    veth: Veth
    ifindex: int
    sysctls: tuple[tuple[str, str], ...] = ()
    down: bool = False
    forward: bool = False
    gateways: tuple[int, ...] = ()
    astray: tuple[tuple[Address, int], ...] = ()
    missing: tuple[Address, ...] = ()

    @property
    def kinds(self) -> list[str]:
        """DOWN, SETTINGS, GATEWAYS, ROUTES: those that were wrong."""
        wrong = {
            DOWN: self.down,
            SETTINGS: bool(self.sysctls) or self.forward,
            GATEWAYS: bool(self.gateways),
            ROUTES: bool(self.astray or self.missing),
        }
        return [kind for kind, is_wrong in wrong.items() if is_wrong]

    @property
    def texts(self) -> list[str]:
        """What was wrong, for the log."""
        texts = ["it was down"] if self.down else []
        texts += [f"{name.replace('/', '.')} was not {value}" for name, value in self.sysctls]
        texts += ["forwarding or rp_filter was not 1"] if self.forward else []
        texts += [f"no {format_address(width, GATEWAY[width])}" for width in self.gateways]
        texts += [f"{format_address(*address)} was routed elsewhere" for address, _ in self.astray]
        return texts + [f"no route to {format_address(*address)}" for address in self.missing]


class Delta(NamedTuple):
    """`gone`: links that do not exist. They are not made again: their pods are gone, or need an ADD."""

    drifts: list[Drift]
    gone: list[str]

    def __bool__(self) -> bool:
        return bool(self.drifts)


def plan(wanted: Iterable[Wanted], actual: Actual) -> Delta:
    """Compare. Links that nobody wants, and their routes, are left alone: pods whose files were lost may
    still use them. A route to another link that is wanted stays too: the other sandbox of that pod."""
    every = list(wanted)
    ends = {each.veth.host: actual.ends[each.veth.host] for each in every if each.veth.host in actual.ends}
    ours = frozenset(end.ifindex for end in ends.values())
    drifts = (_drift(each, ends[each.veth.host], ours, actual) for each in every if each.veth.host in ends)
    gone = [each.veth.host for each in every if each.veth.host not in ends]
    return Delta([drift for drift in drifts if drift.kinds], gone)


def _drift(wanted: Wanted, end: HostEnd, ours: frozenset[int], actual: Actual) -> Drift:
    widths = dict.fromkeys(width for width, _ in wanted.veth.addresses)
    routes = {address: actual.routes.get(address, frozenset()) for address in wanted.routed}
    return Drift(
        veth=wanted.veth,
        ifindex=end.ifindex,
        sysctls=tuple(_sysctls(wanted.veth, end, actual.slow)),
        down=not end.up,
        forward=(end.forwarding, end.rp_filter) != (1, 1),
        gateways=tuple(width for width in widths if end.ifindex not in actual.gateways[width]),
        astray=tuple((address, link) for address in routes for link in sorted(routes[address] - ours)),
        missing=tuple(address for address, links in routes.items() if not links & ours),
    )


def _sysctls(veth: Veth, end: HostEnd, slow: frozenset[str]) -> Iterator[tuple[str, str]]:
    name = veth.host
    if veth.four and name in slow:
        yield f"ipv4/neigh/{name}/proxy_delay", "0"
    for setting, is_, value in (
        ("accept_ra", end.accept_ra, 0),
        ("disable_ipv6", end.disable_ipv6, int(not veth.six)),
    ):
        if is_ not in (-1, value):
            yield f"ipv6/conf/{name}/{setting}", str(value)
