"""Our routes as netlink messages: requests that add and remove them, and parsing a dump.

How the kernel matches routes decides how a route moves from one nexthop to another. Tested on Linux 6.18, and
read in fib_table_insert (IPv4) and fib6_add_rt2node (IPv6):

* REPLACE replaces the first route with the same prefix and metric, also a foreign one: never used.
* CREATE alone adds a route beside existing ones. In IPv4 before them, so it is used at once; in IPv6 behind
  them, so it is used when the old one is removed. Neither leaves a gap. EEXIST: exactly this route exists (in
  IPv6 also if somebody else added it).
* A removal matches the fields that it names. Prefix, metric, protocol and nexthop select exactly one of ours.
  In IPv6 without a nexthop object it must name a gateway: otherwise all routes to the prefix are removed,
  also foreign ones.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import V4, V6, Prefix
from romana_bus.netlink.constants import (
    BLOCK_ROUTES,
    CREATE,
    DELROUTE,
    FAMILY,
    GETROUTE,
    NEWROUTE,
    REQUEST,
    RTA_DST,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_NH_ID,
    RTA_OIF,
    RTA_PRIORITY,
    RTA_VIA,
    RTMSG,
    TABLE_MAIN,
    UNICAST,
    UNREACHABLE,
    WIDTH,
)
from romana_bus.netlink.messages import HEADER, attributes, message, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from romana_bus.routing.routes.state import Via

#: Metric of routes to blocks. Preferred are routes that are set by hand without a metric (0; in IPv6: 1024),
#: and those of BIRD (32), FRR (20) and DHCP clients (100 and up).
METRIC = 8200
#: Metric of unreachable routes: every other route to the same prefix is preferred.
LAST_METRIC = 82_000_000


class _Form(NamedTuple):
    """A message whose constant parts are already packed: packing the rest takes a third of a microsecond."""

    pack: Callable[..., bytes]
    head: bytes
    family: bytes
    middle: bytes
    size: int
    metric: bytes


def _form(kind: int, flags: int, width: int, what: int, metric: int, tail: str, more: bytes = b"") -> _Form:
    """`tail`: format of what follows the metric; `more`: the constant part that follows it first."""
    size = width // 8
    packed = struct.Struct(f"=8sI5sB14s{size}s{8 + len(more)}s{tail}")
    return _Form(
        packed.pack,
        struct.pack("=IHH", packed.size, kind, flags | REQUEST),
        struct.pack("=IB", 0, FAMILY[width]),
        struct.pack("=BBBBBBIHH", 0, 0, TABLE_MAIN, BLOCK_ROUTES, 0, what, 0, 4 + size, RTA_DST),
        size,
        struct.pack("=HHI", 8, RTA_PRIORITY, metric) + more,
    )


def _forms(what: int, metric: int, tail: Callable[[int], tuple[str, bytes]]) -> dict[tuple[int, int], _Form]:
    return {
        (width, kind): _form(kind, CREATE if kind == NEWROUTE else 0, width, what, metric, *tail(width))
        for width in (V4, V6)
        for kind in (NEWROUTE, DELROUTE)
    }


_BY_NEXTHOP = _forms(UNICAST, METRIC, lambda _: ("I", struct.pack("=HH", 8, RTA_NH_ID)))
_BY_GATEWAY = _forms(
    UNICAST, METRIC, lambda width: (f"{width // 8}s8s", struct.pack("=HH", 4 + width // 8, RTA_GATEWAY))
)
_UNREACHABLE_FORMS = _forms(UNREACHABLE, LAST_METRIC, lambda _: ("", b""))


def by_nexthop(first: int, routes: Iterable[tuple[Prefix, int]], kind: int = NEWROUTE) -> list[bytes]:
    """Requests that add routes with nexthop objects, with sequence numbers from `first` on."""
    pack4, head4, family4, middle4, size4, metric4 = _BY_NEXTHOP[V4, kind]
    pack6, head6, family6, middle6, size6, metric6 = _BY_NEXTHOP[V6, kind]
    return [
        pack4(head4, sequence, family4, length, middle4, base.to_bytes(size4, "big"), metric4, number)
        if width == V4
        else pack6(head6, sequence, family6, length, middle6, base.to_bytes(size6, "big"), metric6, number)
        for sequence, ((width, base, length), number) in enumerate(routes, first)
    ]


def without_nexthop(first: int, routes: Iterable[tuple[Prefix, int]]) -> list[bytes]:
    """Requests that remove routes with nexthop objects."""
    return by_nexthop(first, routes, DELROUTE)


def by_gateway(first: int, routes: Iterable[tuple[Prefix, Via]], kind: int = NEWROUTE) -> list[bytes]:
    """Requests that add routes with a gateway."""
    requests = []
    for sequence, ((width, base, length), (_, gateway, link)) in enumerate(routes, first):
        pack, head, family, middle, size, metric = _BY_GATEWAY[width, kind]
        destination, via = base.to_bytes(size, "big"), gateway.to_bytes(size, "big")
        oif = struct.pack("=HHI", 8, RTA_OIF, link)
        requests.append(pack(head, sequence, family, length, middle, destination, metric, via, oif))
    return requests


def without_gateway(first: int, routes: Iterable[tuple[Prefix, Via]]) -> list[bytes]:
    """Requests that remove routes with a gateway."""
    return by_gateway(first, routes, DELROUTE)


def unreachable(first: int, prefixes: Iterable[Prefix], kind: int = NEWROUTE) -> list[bytes]:
    """Requests that add unreachable routes: senders get an ICMP error, and no packet loops over the default
    route."""
    requests = []
    for sequence, (width, base, length) in enumerate(prefixes, first):
        pack, head, family, middle, size, metric = _UNREACHABLE_FORMS[width, kind]
        requests.append(pack(head, sequence, family, length, middle, base.to_bytes(size, "big"), metric))
    return requests


def reachable(first: int, prefixes: Iterable[Prefix]) -> list[bytes]:
    """Requests that remove unreachable routes."""
    return unreachable(first, prefixes, DELROUTE)


def with_metric(request: bytes, width: int, metric: int) -> bytes:
    """One of these requests with another metric, which follows the prefix."""
    offset = 36 + width // 8
    return request[:offset] + struct.pack("=I", metric) + request[offset + 4 :]


def dump_own(width: int) -> bytes:
    """The request for a dump of our routes of one family."""
    return message(GETROUTE, 0, RTMSG.pack(FAMILY[width], 0, 0, 0, TABLE_MAIN, BLOCK_ROUTES, 0, 0, 0))


def dump_all(width: int) -> bytes:
    """The request for a dump of all routes of one family, in all tables."""
    return message(GETROUTE, 0, RTMSG.pack(FAMILY[width], 0, 0, 0, 0, 0, 0, 0, 0))


def of_others(part: bytes) -> Iterator[tuple[Prefix, int]]:
    """Yields (prefix, number) of each foreign route in one part of a dump that has a nexthop object."""
    for kind, _, _, start, end in messages(part):
        if kind != NEWROUTE:
            continue
        family, length, _, _, _, protocol, _, _, _ = RTMSG.unpack_from(part, start)
        if protocol != BLOCK_ROUTES and family in WIDTH:
            route = _read(part, start + RTMSG.size, end, WIDTH[family], length, unreachable=False)
            if route.number:
                yield route.prefix, route.number


class OwnRoute(NamedTuple):
    """A route of ours. `number`: its nexthop object; 0: it has the gateways `vias`, or is `unreachable`."""

    prefix: Prefix
    number: int
    vias: tuple[Via, ...] = ()
    unreachable: bool = False
    metric: int = 0

    @property
    def misplaced(self) -> bool:
        """Whether it has our protocol, but not the metric that we use."""
        return self.metric != (LAST_METRIC if self.unreachable else METRIC)


def parse(part: bytes) -> Iterator[OwnRoute]:
    """Yields our routes in one part of a dump. (An old kernel does not select by protocol, so this does.)"""
    for kind, _, _, start, end in messages(part):
        if kind != NEWROUTE:
            continue
        family, length, _, _, table, protocol, _, what, _ = RTMSG.unpack_from(part, start)
        if protocol == BLOCK_ROUTES and table == TABLE_MAIN and what in (UNICAST, UNREACHABLE):
            yield _read(part, start + RTMSG.size, end, WIDTH[family], length, what == UNREACHABLE)


def _read(part: bytes, start: int, end: int, width: int, length: int, unreachable: bool) -> OwnRoute:
    base = number = gateway = link = metric = 0
    vias: tuple[Via, ...] = ()
    for kind, first, last in attributes(part, start, end):
        if kind == RTA_DST:
            base = int.from_bytes(part[first:last], "big")
        elif kind == RTA_NH_ID:
            number = int.from_bytes(part[first:last], sys.byteorder)
        elif kind == RTA_GATEWAY:
            gateway = int.from_bytes(part[first:last], "big")
        elif kind == RTA_OIF:
            link = int.from_bytes(part[first:last], sys.byteorder)
        elif kind == RTA_PRIORITY:
            metric = int.from_bytes(part[first:last], sys.byteorder)
        elif kind == RTA_MULTIPATH:
            vias = tuple(paths(part, first, last, width))
    if gateway and not number:
        vias = ((width, gateway, link),)
    return OwnRoute(Prefix(width, base, length), number, () if number else vias, unreachable, metric)


def paths(part: bytes, start: int, end: int, width: int) -> Iterator[Via]:
    """struct rtnexthop: length, flags, hops, interface; then attributes."""
    while start + 8 <= end:
        length, _, _, link = struct.unpack_from("=HBBI", part, start)
        for kind, first, last in attributes(part, start + 8, start + length):
            if kind == RTA_GATEWAY:
                yield width, int.from_bytes(part[first:last], "big"), link
        start += max(8, (length + 3) & ~3)


def get_route(address_width: int, value: int) -> bytes:
    """The request for the route of a packet to this address."""
    size = address_width // 8
    body = RTMSG.pack(FAMILY[address_width], address_width, 0, 0, 0, 0, 0, 0, 0)
    return message(
        GETROUTE, 0, body + struct.pack(f"=HH{size}s", 4 + size, RTA_DST, value.to_bytes(size, "big"))
    )


def link_of(answer: bytes) -> int:
    """The interface on whose link the address is, from the answer to `get_route`; 0 if it is behind a
    gateway, local, or unreachable."""
    header = HEADER.size
    if RTMSG.unpack_from(answer, header)[7] != UNICAST:
        return 0
    link = 0
    for kind, first, last in attributes(answer, header + RTMSG.size, len(answer)):
        if kind in (RTA_GATEWAY, RTA_VIA):
            return 0
        if kind == RTA_OIF:
            link = int.from_bytes(answer[first:last], sys.byteorder)
    return link
