"""A pod's link as netlink messages: the veth pair, its addresses, routes and neighbours; and what the kernel
says of them. Packing and parsing alone: who sends them, and in which namespace, is `cni/wiring.py`.

Numbers are those of linux/if_link.h, if_addr.h, rtnetlink.h and neighbour.h.
"""

from __future__ import annotations

import struct
import sys
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import V4, V6
from romana_bus.netlink import messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Route protocol of the host routes of pods: theirs alone, as 82 is that of the routes to blocks.
POD_ROUTES = 83

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _GETADDR = 20, 22
_NEWROUTE, _GETROUTE = 24, 26
_NEWNEIGH = 28

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDR = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_NEIGH = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type

_UP = 0x1
_IFLA_ADDRESS, _IFLA_NAME, _IFLA_MTU, _IFLA_LINK, _IFLA_INFO, _IFLA_AF_SPEC, _IFLA_NS_FD = (
    1,
    3,
    4,
    5,
    18,
    26,
    28,
)
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_INET_CONF, _INET6_GENERATE = 1, 8
_NO_LINK_LOCAL = 1  # IN6_ADDR_GEN_MODE_NONE
#: IPV4_DEVCONF_*: forwards; and, of IPv4 alone, takes from the pod no packet with somebody else's address.
#: The latter unless net.ipv4.conf.all.rp_filter is 2, for the greater of the two values holds, and unless
#: somebody sets the link's own to 2 behind us, as systemd-udevd does for new links where a file in sysctl.d
#: says net.ipv4.conf.*.rp_filter = 2.
_FORWARDING, _RP_FILTER = 1, 8
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _NO_DAD = 1, 2, 8, 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_TABLE_MAIN, _UNICAST, _SCOPE_LINK, _SCOPE_UNIVERSE = 254, 1, 253, 0
_PROTO_BOOT, _FIB_MATCH = 3, 0x2000
_NDA_DST, _NDA_LLADDR, _PERMANENT, _PROXY = 1, 2, 0x80, 0x08

FAMILY = {V4: AF_INET, V6: AF_INET6}
_WIDTH = {AF_INET: V4, AF_INET6: V6}


class Link(NamedTuple):
    """`peer`: the index of a veth's other end, in that one's namespace."""

    ifindex: int
    name: str
    mac: str
    mtu: int
    up: bool
    peer: int


class Route(NamedTuple):
    """`gateway`: None where there is none."""

    width: int
    base: int
    length: int
    oif: int
    gateway: int | None
    protocol: int


def packed(width: int, value: int) -> bytes:
    return value.to_bytes(width // 8, "big")


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


# --- links ----------------------------------------------------------------------------------------------


def new_pair(host: tuple[str, str], pod: tuple[str, str], netns: int, mtu: int) -> bytes:
    """A veth pair, the other end of it directly in the namespace behind a file descriptor, under its name
    there. `host`, `pod`: name and hardware address. Fails with EEXIST where either name is taken."""
    peer = _LINK.pack(0, 0, 0, 0, 0) + _end(*pod, mtu) + messages.number(_IFLA_NS_FD, netns)
    data = messages.nested(_INFO_DATA, messages.attribute(_VETH_PEER | messages.NESTED, peer))
    info = messages.nested(_IFLA_INFO, messages.name(_INFO_KIND, "veth"), data)
    body = _LINK.pack(0, 0, 0, 0, 0) + _end(*host, mtu) + info
    return messages.message(_NEWLINK, messages.CREATE | messages.EXCL, body)


def _end(name: str, mac: str, mtu: int) -> bytes:
    return (
        messages.name(_IFLA_NAME, name)
        + messages.attribute(_IFLA_ADDRESS, _mac(mac))
        + messages.number(_IFLA_MTU, mtu)
    )


def up(index: int) -> bytes:
    return messages.message(_NEWLINK, 0, _LINK.pack(0, 0, index, _UP, _UP))


def for_pod(index: int, *, six: bool) -> list[bytes]:
    """The host's end, up: it forwards. `six`: there is IPv6, of which it has no address but what it is given,
    so that has to be said before it is up."""
    conf = messages.nested(_INET_CONF, messages.number(_FORWARDING, 1), messages.number(_RP_FILTER, 1))
    spec = [messages.nested(AF_INET, conf)]
    if six:
        spec.append(messages.nested(AF_INET6, messages.attribute(_INET6_GENERATE, bytes([_NO_LINK_LOCAL]))))
    body = _LINK.pack(0, 0, index, 0, 0) + messages.nested(_IFLA_AF_SPEC, *spec)
    return [messages.message(_NEWLINK, 0, body), up(index)]


def delete_link(name: str) -> bytes:
    return messages.message(_DELLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + messages.name(_IFLA_NAME, name))


def get_link(name: str) -> bytes:
    return messages.message(_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + messages.name(_IFLA_NAME, name))


def get_link_at(index: int) -> bytes:
    return messages.message(_GETLINK, 0, _LINK.pack(0, 0, index, 0, 0))


def link(answer: bytes) -> Link:
    start = messages.HEADER.size
    _, _, index, flags, _ = _LINK.unpack_from(answer, start)
    found = _attributes(answer, start + _LINK.size)
    return Link(
        index,
        found.get(_IFLA_NAME, b"").rstrip(b"\0").decode(errors="replace"),
        found.get(_IFLA_ADDRESS, b"").hex(":"),
        _number(found, _IFLA_MTU),
        bool(flags & _UP),
        _number(found, _IFLA_LINK),
    )


# --- addresses and neighbours ---------------------------------------------------------------------------


def address(width: int, value: int, index: int, *, length: int = 0, link_local: bool = False) -> bytes:
    """As long as the family's addresses are, unless told otherwise; and nobody is asked whether another has
    it (DAD), which would make a pod wait for a second."""
    family, data = FAMILY[width], packed(width, value)
    scope = _SCOPE_LINK if link_local else _SCOPE_UNIVERSE
    body = _ADDR.pack(family, length or width, 0, scope, index)
    body += messages.attribute(_IFA_LOCAL, data) + messages.attribute(_IFA_ADDRESS, data)
    body += messages.number(_IFA_FLAGS, _NO_DAD) if width == V6 else b""
    return messages.message(_NEWADDR, messages.CREATE | messages.REPLACE, body)


def get_addresses(index: int) -> bytes:
    return messages.message(_GETADDR, 0, _ADDR.pack(0, 0, 0, 0, index))


def addresses(parts: Iterable[bytes], index: int) -> set[tuple[int, int]]:
    """(width, value) of those of a link."""
    found = set()
    for part, start, end in _bodies(parts, _NEWADDR):
        family, _, _, _, at = _ADDR.unpack_from(part, start)
        if at != index or family not in _WIDTH:
            continue
        seen = _attributes(part[:end], start + _ADDR.size)
        data = seen.get(_IFA_LOCAL, seen.get(_IFA_ADDRESS, b""))
        found.add((_WIDTH[family], int.from_bytes(data, "big")))
    return found


def neighbour(width: int, value: int, index: int, mac: str) -> bytes:
    """Known for ever: nobody has to be asked."""
    body = _NEIGH.pack(FAMILY[width], index, _PERMANENT, 0, 0)
    body += messages.attribute(_NDA_DST, packed(width, value)) + messages.attribute(_NDA_LLADDR, _mac(mac))
    return messages.message(_NEWNEIGH, messages.CREATE | messages.REPLACE, body)


def proxy(width: int, value: int, index: int) -> bytes:
    """Answer for this address on this link."""
    body = _NEIGH.pack(FAMILY[width], index, 0, _PROXY, 0) + messages.attribute(
        _NDA_DST, packed(width, value)
    )
    return messages.message(_NEWNEIGH, messages.CREATE | messages.REPLACE, body)


# --- routes ---------------------------------------------------------------------------------------------


def on_link(
    width: int, value: int, index: int, *, protocol: int = _PROTO_BOOT, replace: bool = False
) -> bytes:
    """To one address, directly over a link. EEXIST where there is one, unless it may replace it."""
    flags = messages.CREATE | (messages.REPLACE if replace else messages.EXCL)
    scope = _SCOPE_LINK if width == V4 else _SCOPE_UNIVERSE
    body = _ROUTE.pack(FAMILY[width], width, 0, 0, _TABLE_MAIN, protocol, scope, _UNICAST, 0)
    body += messages.attribute(_RTA_DST, packed(width, value)) + messages.number(_RTA_OIF, index)
    return messages.message(_NEWROUTE, flags, body)


def default_via(width: int, gateway: int, index: int) -> bytes:
    body = _ROUTE.pack(FAMILY[width], 0, 0, 0, _TABLE_MAIN, _PROTO_BOOT, _SCOPE_UNIVERSE, _UNICAST, 0)
    body += messages.attribute(_RTA_GATEWAY, packed(width, gateway)) + messages.number(_RTA_OIF, index)
    return messages.message(_NEWROUTE, messages.CREATE | messages.EXCL, body)


def get_route(width: int, value: int) -> bytes:
    """The route that a packet to this address takes, as it stands in the table."""
    body = _ROUTE.pack(FAMILY[width], width, 0, 0, 0, 0, 0, 0, _FIB_MATCH)
    return messages.message(_GETROUTE, 0, body + messages.attribute(_RTA_DST, packed(width, value)))


def get_routes(width: int, protocol: int = 0, oif: int = 0) -> bytes:
    """Those of the main table, of one protocol and over one link where it is named."""
    body = _ROUTE.pack(FAMILY[width], 0, 0, 0, _TABLE_MAIN, protocol, 0, 0, 0)
    return messages.message(_GETROUTE, 0, body + (messages.number(_RTA_OIF, oif) if oif else b""))


def routes(parts: Iterable[bytes]) -> Iterator[Route]:
    for part, start, end in _bodies(parts, _NEWROUTE):
        family, length, _, _, _, protocol, _, _, _ = _ROUTE.unpack_from(part, start)
        if family not in _WIDTH:
            continue
        found = _attributes(part[:end], start + _ROUTE.size)
        gateway = found.get(_RTA_GATEWAY)
        yield Route(
            _WIDTH[family],
            int.from_bytes(found.get(_RTA_DST, b""), "big"),
            length,
            _number(found, _RTA_OIF),
            None if gateway is None else int.from_bytes(gateway, "big"),
            protocol,
        )


# --- parsing --------------------------------------------------------------------------------------------


def _bodies(parts: Iterable[bytes], wanted: int) -> Iterator[tuple[bytes, int, int]]:
    for part in parts:
        for kind, _, _, start, end in messages.messages(part):
            if kind == wanted:
                yield part, start, end


def _attributes(data: bytes, start: int) -> dict[int, bytes]:
    return {kind: data[first:end] for kind, first, end in messages.attributes(data, start, len(data))}


def _number(found: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b"")[:4], sys.byteorder)
