"""Routes of ours as netlink messages: adding and removing them, and reading a dump of them.

What the kernel's verbs match was tried on Linux 6.18 and read in fib_table_insert (IPv4) and
fib6_add_rt2node (IPv6); it rules how a route moves from one nexthop to another:

* REPLACE takes the first route of the same prefix and metric, whoever's it is: never used.
* CREATE alone adds one beside those that are there: in IPv4 before them, so it takes over at once; in IPv6
  behind them, so it takes over when the old one goes. Without a gap in both. EEXIST: exactly this one is
  there already (in IPv6 also where somebody else made it).
* Removing matches what the request names. By prefix, metric, protocol and nexthop it is exactly one of
  ours. In IPv6 without nexthop object a gateway has to be named: without, the siblings of the route go too,
  whoever's they are.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import V4, V6, Prefix
from romana_bus.netlink.messages import CREATE, HEADER, REQUEST, attributes, message, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from romana_bus.routing.routes.state import Via

#: What our routes are known by (rtm_protocol).
PROTOCOL = 82
#: Routes to blocks. A route that somebody sets by hand without a metric (0; in IPv6 that means 1024) comes
#: first, and so does what BIRD (32), FRR (20) and DHCP clients (100 and up) set.
METRIC = 8200
#: `unreachable`: behind everything that may lead to the same prefix.
LAST_METRIC = 82_000_000

_NEW, _DEL, _GET = 24, 25, 26
_MAIN, _UNICAST, _UNREACHABLE = 254, 1, 7
# linux/rtnetlink.h: RTA_*
_DST, _OIF, _GATEWAY, _METRIC, _MULTIPATH, _VIA, _NEXTHOP = 1, 4, 5, 6, 9, 18, 30
_FAMILY = {V4: 2, V6: 10}
_WIDTH = {2: V4, 10: V6}
#: struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags
_RTMSG = struct.Struct("=BBBBBBBBI")


class _Form(NamedTuple):
    """A message with its constant parts packed already: packing one costs a third of a microsecond."""

    pack: Callable[..., bytes]
    head: bytes
    family: bytes
    middle: bytes
    size: int
    metric: bytes


def _form(kind: int, flags: int, width: int, what: int, metric: int, tail: str, more: bytes = b"") -> _Form:
    """`tail`: how what comes behind the metric is packed, `more` being its first constant part."""
    size = width // 8
    packed = struct.Struct(f"=8sI5sB14s{size}s{8 + len(more)}s{tail}")
    return _Form(
        packed.pack,
        struct.pack("=IHH", packed.size, kind, flags | REQUEST),
        struct.pack("=IB", 0, _FAMILY[width]),
        struct.pack("=BBBBBBIHH", 0, 0, _MAIN, PROTOCOL, 0, what, 0, 4 + size, _DST),
        size,
        struct.pack("=HHI", 8, _METRIC, metric) + more,
    )


def _forms(what: int, metric: int, tail: Callable[[int], tuple[str, bytes]]) -> dict[tuple[int, int], _Form]:
    return {
        (width, kind): _form(kind, CREATE if kind == _NEW else 0, width, what, metric, *tail(width))
        for width in (V4, V6)
        for kind in (_NEW, _DEL)
    }


_BY_NEXTHOP = _forms(_UNICAST, METRIC, lambda _: ("I", struct.pack("=HH", 8, _NEXTHOP)))
_BY_GATEWAY = _forms(
    _UNICAST, METRIC, lambda width: (f"{width // 8}s8s", struct.pack("=HH", 4 + width // 8, _GATEWAY))
)
_BARRED = _forms(_UNREACHABLE, LAST_METRIC, lambda _: ("", b""))


def by_nexthop(first: int, routes: Iterable[tuple[Prefix, int]], kind: int = _NEW) -> list[bytes]:
    """Add routes that point at the ids of nexthop objects; numbered from `first`."""
    pack4, head4, family4, middle4, size4, metric4 = _BY_NEXTHOP[V4, kind]
    pack6, head6, family6, middle6, size6, metric6 = _BY_NEXTHOP[V6, kind]
    return [
        pack4(head4, at, family4, length, middle4, base.to_bytes(size4, "big"), metric4, number)
        if width == V4
        else pack6(head6, at, family6, length, middle6, base.to_bytes(size6, "big"), metric6, number)
        for at, ((width, base, length), number) in enumerate(routes, first)
    ]


def without_nexthop(first: int, routes: Iterable[tuple[Prefix, int]]) -> list[bytes]:
    """Remove such routes."""
    return by_nexthop(first, routes, _DEL)


def by_gateway(first: int, routes: Iterable[tuple[Prefix, Via]], kind: int = _NEW) -> list[bytes]:
    """Add routes that say themselves where they lead."""
    made = []
    for at, ((width, base, length), (_, gateway, link)) in enumerate(routes, first):
        pack, head, family, middle, size, metric = _BY_GATEWAY[width, kind]
        destination, via = base.to_bytes(size, "big"), gateway.to_bytes(size, "big")
        oif = struct.pack("=HHI", 8, _OIF, link)
        made.append(pack(head, at, family, length, middle, destination, metric, via, oif))
    return made


def without_gateway(first: int, routes: Iterable[tuple[Prefix, Via]]) -> list[bytes]:
    """Remove such routes."""
    return by_gateway(first, routes, _DEL)


def unreachable(first: int, prefixes: Iterable[Prefix], kind: int = _NEW) -> list[bytes]:
    """Bar prefixes: who sends there hears that there is no way, instead of a loop by the default route."""
    made = []
    for at, (width, base, length) in enumerate(prefixes, first):
        pack, head, family, middle, size, metric = _BARRED[width, kind]
        made.append(pack(head, at, family, length, middle, base.to_bytes(size, "big"), metric))
    return made


def reachable(first: int, prefixes: Iterable[Prefix]) -> list[bytes]:
    """No longer bar them."""
    return unreachable(first, prefixes, _DEL)


def with_metric(request: bytes, width: int, metric: int) -> bytes:
    """One of these requests, of a route that has another metric than ours: it stands behind the prefix."""
    at = 36 + width // 8
    return request[:at] + struct.pack("=I", metric) + request[at + 4 :]


def ours(width: int) -> bytes:
    """The request for a dump of our routes of one family."""
    return message(_GET, 0, _RTMSG.pack(_FAMILY[width], 0, 0, 0, _MAIN, PROTOCOL, 0, 0, 0))


def everybodys(width: int) -> bytes:
    """The request for a dump of all routes of one family, in whatever table."""
    return message(_GET, 0, _RTMSG.pack(_FAMILY[width], 0, 0, 0, 0, 0, 0, 0, 0))


def of_others(part: bytes) -> Iterator[tuple[Prefix, int]]:
    """(prefix, number) of each route in one part of a dump that is not ours and has a nexthop object."""
    for kind, _, _, start, end in messages(part):
        if kind != _NEW:
            continue
        family, length, _, _, _, protocol, _, _, _ = _RTMSG.unpack_from(part, start)
        if protocol != PROTOCOL and family in _WIDTH:
            route = _read(part, start + _RTMSG.size, end, _WIDTH[family], length, unreachable=False)
            if route.number:
                yield route.prefix, route.number


class Found(NamedTuple):
    """A route of ours. `number`: its nexthop object, or 0; then `vias` tells where it leads.
    `unreachable`: it leads nowhere."""

    prefix: Prefix
    number: int
    vias: tuple[Via, ...] = ()
    unreachable: bool = False
    metric: int = 0

    @property
    def stray(self) -> bool:
        """With our mark, but not as we make them."""
        return self.metric != (LAST_METRIC if self.unreachable else METRIC)


def found(part: bytes) -> Iterator[Found]:
    """Our routes in one part of a dump. (An old kernel does not select by protocol, so it is done here.)"""
    for kind, _, _, start, end in messages(part):
        if kind != _NEW:
            continue
        family, length, _, _, table, protocol, _, what, _ = _RTMSG.unpack_from(part, start)
        if protocol == PROTOCOL and table == _MAIN and what in (_UNICAST, _UNREACHABLE):
            yield _read(part, start + _RTMSG.size, end, _WIDTH[family], length, what == _UNREACHABLE)


def _read(part: bytes, start: int, end: int, width: int, length: int, unreachable: bool) -> Found:
    base = number = gateway = link = metric = 0
    vias: tuple[Via, ...] = ()
    for kind, first, last in attributes(part, start, end):
        if kind == _DST:
            base = int.from_bytes(part[first:last], "big")
        elif kind == _NEXTHOP:
            number = int.from_bytes(part[first:last], sys.byteorder)
        elif kind == _GATEWAY:
            gateway = int.from_bytes(part[first:last], "big")
        elif kind == _OIF:
            link = int.from_bytes(part[first:last], sys.byteorder)
        elif kind == _METRIC:
            metric = int.from_bytes(part[first:last], sys.byteorder)
        elif kind == _MULTIPATH:
            vias = tuple(_paths(part, first, last, width))
    if gateway and not number:
        vias = ((width, gateway, link),)
    return Found(Prefix(width, base, length), number, () if number else vias, unreachable, metric)


def _paths(part: bytes, start: int, end: int, width: int) -> Iterator[Via]:
    """struct rtnexthop: length, flags, hops, interface; then attributes."""
    while start + 8 <= end:
        length, _, _, link = struct.unpack_from("=HBBI", part, start)
        for kind, first, last in attributes(part, start + 8, start + length):
            if kind == _GATEWAY:
                yield width, int.from_bytes(part[first:last], "big"), link
        start += max(8, (length + 3) & ~3)


def where(address_width: int, value: int) -> bytes:
    """The question where the kernel would send a packet for this address."""
    size = address_width // 8
    body = _RTMSG.pack(_FAMILY[address_width], address_width, 0, 0, 0, 0, 0, 0, 0)
    return message(_GET, 0, body + struct.pack(f"=HH{size}s", 4 + size, _DST, value.to_bytes(size, "big")))


def link_of(answer: bytes) -> int:
    """The interface on whose link the asked address is; 0 where it is behind a gateway, is an address of our
    own, or cannot be reached."""
    header = HEADER.size
    if _RTMSG.unpack_from(answer, header)[7] != _UNICAST:
        return 0
    link = 0
    for kind, first, last in attributes(answer, header + _RTMSG.size, len(answer)):
        if kind in (_GATEWAY, _VIA):
            return 0
        if kind == _OIF:
            link = int.from_bytes(answer[first:last], sys.byteorder)
    return link
