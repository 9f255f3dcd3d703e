"""Reads what a node lives on from its kernel: its addresses, connected prefixes and gateways, and the ways to
the log and the API server.

Of the routes, only those of protocols that set up links: a node may have a million of a routing daemon's. Not
counted are our own routes and those of pods, and what is link-local or loopback; addresses of links that are
down (such as those of services on kube-ipvs0); and, as connected, routes to single addresses, as other
network plugins have them for each pod.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import V4, V6, Prefix, parse_prefix
from romana_bus.netlink import links
from romana_bus.netlink.constants import (
    BLOCK_ROUTES,
    BOOT,
    DHCP,
    IFA_ADDRESS,
    IFA_LOCAL,
    IFADDRMSG,
    KERNEL,
    LOOPBACK,
    NEWADDR,
    NEWROUTE,
    POD_ROUTES,
    ROUTER_ADVERTISEMENT,
    RTA_DST,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_VIA,
    RTMSG,
    SCOPE_LINK,
    STATIC,
    TABLE_MAIN,
    UNICAST,
    WIDTH,
)
from romana_bus.netlink.messages import bodies, values
from romana_bus.netlink.routes import paths
from romana_bus.netlink.socket import Failure, Socket, dump
from romana_bus.routing import Network

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.routing import Address

_PROTOCOLS = (KERNEL, BOOT, STATIC, ROUTER_ADVERTISEMENT, DHCP)
_OURS = (BLOCK_ROUTES, POD_ROUTES)
#: Loopback and link-local: every node has them, and no route of ours can take them away.
_EVERYWHERE = tuple(map(parse_prefix, ("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10")))


class Reached(NamedTuple):
    """Where the log and the API server are. `answered`: those at which the log has answered: if a route of
    ours leads to one of them, the log is in the pod network, and the route is right."""

    addresses: frozenset[Address] = frozenset()
    answered: frozenset[Address] = frozenset()


class _Way(NamedTuple):
    """A route. `link`: 0 where it is not on-link."""

    prefix: Prefix
    gateways: tuple[Address, ...]
    link: int
    protocol: int


def read(socket: Socket, reached: Reached) -> Network:
    """What this thread's namespace lives on. Raises OSError, Interrupted."""
    connected: set[Prefix] = set()
    gateways: set[Address] = set()
    for width in (V4, V6):
        for protocol in _PROTOCOLS:
            for way in _ways(dump(socket, links.get_routes(width, protocol))):
                if way.protocol != protocol or not _counts(way.prefix):
                    continue  # an old kernel does not select
                if way.link not in (0, LOOPBACK) and 0 < way.prefix.length < width:
                    connected.add(way.prefix)
                if not way.prefix.length:
                    gateways.update(way.gateways)
    needed = set(filter(_is_elsewhere, reached.addresses))
    ways = _looked_up(socket, needed)
    for address, way in ways.items():
        if way.protocol not in _OURS:
            gateways.update(way.gateways)
        elif way.protocol == POD_ROUTES or address in reached.answered:
            needed.discard(address)  # it is in the pod network
    gateways = set(filter(_is_elsewhere, gateways))
    ways |= _looked_up(socket, gateways - ways.keys())
    lengths = {
        address: way.prefix.length
        for address, way in ways.items()
        if way.protocol not in _OURS and way.prefix.length
    }
    own = frozenset(_own_addresses(socket))
    return Network(own, frozenset(connected), frozenset(gateways), frozenset(needed), lengths)


def _counts(prefix: Prefix) -> bool:
    return not any(local.contains(prefix) for local in _EVERYWHERE)


def _is_elsewhere(address: Address) -> bool:
    """Whether the address is neither loopback nor link-local."""
    return _counts(Prefix(*address, address[0]))


def _own_addresses(socket: Socket) -> Iterator[Address]:
    """The addresses of links that are up."""
    found: list[tuple[int, Address]] = []
    for part, start, end in bodies(dump(socket, links.get_addresses()), NEWADDR):
        family, _, _, scope, index = IFADDRMSG.unpack_from(part, start)
        if family in WIDTH and scope < SCOPE_LINK:
            attributes = values(part, start + IFADDRMSG.size, end)
            value = attributes.get(IFA_LOCAL, attributes.get(IFA_ADDRESS, b""))
            found.append((index, (WIDTH[family], int.from_bytes(value, "big"))))
    indexes = sorted({index for index, _ in found})
    answers = socket.ask([links.get_link_at(index) for index in indexes])
    up = {
        index
        for index, answer in zip(indexes, answers, strict=True)
        if not isinstance(answer, Failure) and links.link(answer).up
    }
    for index, address in found:
        if index in up and _is_elsewhere(address):
            yield address


def _looked_up(socket: Socket, addresses: Iterable[Address]) -> dict[Address, _Way]:
    """The route of a packet to each address, where there is one."""
    asked = sorted(addresses)
    answers = socket.ask([links.get_route(*address) for address in asked])
    return {
        address: way
        for address, answer in zip(asked, answers, strict=True)
        if not isinstance(answer, Failure)
        for way in _ways([answer], any_table=True)
    }


def _ways(parts: Iterable[bytes], *, any_table: bool = False) -> Iterator[_Way]:
    """The unicast routes in the RTM_NEWROUTE messages of a dump or an answer."""
    for part, start, end in bodies(parts, NEWROUTE):
        family, length, _, _, table, protocol, _, what, _ = RTMSG.unpack_from(part, start)
        if family in WIDTH and what == UNICAST and (any_table or table == TABLE_MAIN):
            yield _way(values(part, start + RTMSG.size, end), WIDTH[family], length, protocol)


def _way(attributes: dict[int, bytes], width: int, length: int, protocol: int) -> _Way:
    gateways: list[Address] = []
    if RTA_GATEWAY in attributes:
        gateways.append((width, int.from_bytes(attributes[RTA_GATEWAY], "big")))
    if several := attributes.get(RTA_MULTIPATH):
        gateways += [path[:2] for path in paths(several, 0, len(several), width)]
    prefix = Prefix(width, int.from_bytes(attributes.get(RTA_DST, b""), "big"), length)
    on_link = attributes.keys().isdisjoint((RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA))
    link = int.from_bytes(attributes.get(RTA_OIF, b""), sys.byteorder) if on_link else 0
    return _Way(prefix, tuple(gateways), link, protocol)
