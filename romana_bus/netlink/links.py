"""A pod's link as netlink messages: the veth pair, its addresses, routes and neighbours; packing and parsing.

`cni/link/attach.py` sends them. Functions that build a request return one complete message (struct nlmsghdr,
a fixed header, attributes); functions that parse take the bytes that the kernel answered. An address is
(width, value), see `inet`. Numbers are from linux/if_link.h, if_addr.h, rtnetlink.h and neighbour.h.
"""

from __future__ import annotations

import sys
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import V4, V6
from romana_bus.netlink import messages
from romana_bus.netlink.constants import (
    ADDR_GEN_MODE_NONE,
    BOOT,
    CONF_FORWARDING,
    CONF_RP_FILTER,
    CREATE,
    DELLINK,
    DELROUTE,
    EXCL,
    FAMILY,
    FIB_MATCH,
    GETADDR,
    GETLINK,
    GETROUTE,
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_FLAGS,
    IFA_LOCAL,
    IFADDRMSG,
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_INFO,
    IFLA_LINK,
    IFLA_MTU,
    IFLA_NAME,
    IFLA_NS_FD,
    IFLA_OPERSTATE,
    INET6_ADDR_GEN_MODE,
    INET_CONF,
    INFO_DATA,
    INFO_KIND,
    LINK_UP,
    NDA_DST,
    NDA_LLADDR,
    NDMSG,
    NESTED,
    NEWADDR,
    NEWLINK,
    NEWNEIGH,
    NEWROUTE,
    NTF_PROXY,
    NUD_PERMANENT,
    OPER_UP,
    REPLACE,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTMSG,
    SCOPE_LINK,
    SCOPE_NOWHERE,
    SCOPE_UNIVERSE,
    TABLE_MAIN,
    UNICAST,
    VETH_PEER,
    WIDTH,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Link(NamedTuple):
    """A link. `peer`: the index of a veth's other end, in the namespace of that end. `running`: it is up
    and has a carrier, and the kernel has noted that (IF_OPER_UP): it sends what it is given."""

    ifindex: int
    name: str
    mac: str
    mtu: int
    up: bool
    peer: int
    running: bool


class Route(NamedTuple):
    """A route. `gateway`: None if the destination is on-link."""

    width: int
    base: int
    length: int
    oif: int
    gateway: int | None
    protocol: int


def packed(width: int, value: int) -> bytes:
    """An address in network byte order: 4 or 16 bytes."""
    return value.to_bytes(width // 8, "big")


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


# --- links ----------------------------------------------------------------------------------------------


def new_pair(host: tuple[str, str], pod: tuple[str, str], netns: int, mtu: int) -> bytes:
    """RTM_NEWLINK: create a veth pair, with its pod end in another namespace. `host`, `pod`: name and MAC
    address of each end. `netns`: file descriptor of the pod's namespace. `mtu`: of both ends, bytes. The
    kernel answers EEXIST if one of the names is taken."""
    peer = IFINFOMSG.pack(0, 0, 0, 0, 0) + _end(*pod, mtu) + messages.number(IFLA_NS_FD, netns)
    data = messages.nested(INFO_DATA, messages.attribute(VETH_PEER | NESTED, peer))
    info = messages.nested(IFLA_INFO, messages.name(INFO_KIND, "veth"), data)
    body = IFINFOMSG.pack(0, 0, 0, 0, 0) + _end(*host, mtu) + info
    return messages.message(NEWLINK, CREATE | EXCL, body)


def _end(name: str, mac: str, mtu: int) -> bytes:
    return (
        messages.name(IFLA_NAME, name)
        + messages.attribute(IFLA_ADDRESS, _mac(mac))
        + messages.number(IFLA_MTU, mtu)
    )


def up(index: int) -> bytes:
    """RTM_NEWLINK: set the link up (IFF_UP)."""
    return messages.message(NEWLINK, 0, IFINFOMSG.pack(0, 0, index, LINK_UP, LINK_UP))


def for_pod(index: int, *, six: bool) -> list[bytes]:
    """Two RTM_NEWLINK: configure the host's end (forwarding, rp_filter), then set it up. `six`: the kernel
    has IPv6; then the automatic link-local address is turned off, which has to be done before the link is
    up."""
    conf = messages.nested(INET_CONF, messages.number(CONF_FORWARDING, 1), messages.number(CONF_RP_FILTER, 1))
    spec = [messages.nested(AF_INET, conf)]
    if six:
        spec.append(
            messages.nested(AF_INET6, messages.attribute(INET6_ADDR_GEN_MODE, bytes([ADDR_GEN_MODE_NONE])))
        )
    body = IFINFOMSG.pack(0, 0, index, 0, 0) + messages.nested(IFLA_AF_SPEC, *spec)
    return [messages.message(NEWLINK, 0, body), up(index)]


def delete_link(name: str) -> bytes:
    """RTM_DELLINK by name: for a veth it deletes both ends. The kernel answers ENODEV if there is none."""
    return messages.message(DELLINK, 0, IFINFOMSG.pack(0, 0, 0, 0, 0) + messages.name(IFLA_NAME, name))


def get_link(name: str) -> bytes:
    """RTM_GETLINK by name; `link` parses the answer. The kernel answers ENODEV if there is none."""
    return messages.message(GETLINK, 0, IFINFOMSG.pack(0, 0, 0, 0, 0) + messages.name(IFLA_NAME, name))


def get_link_at(index: int) -> bytes:
    """RTM_GETLINK by index; `link` parses the answer. The kernel answers ENODEV if there is none."""
    return messages.message(GETLINK, 0, IFINFOMSG.pack(0, 0, index, 0, 0))


def link(answer: bytes) -> Link:
    """The link in an RTM_NEWLINK message, which is the answer to RTM_GETLINK."""
    start = messages.HEADER.size
    _, _, index, flags, _ = IFINFOMSG.unpack_from(answer, start)
    attributes = messages.values(answer, start + IFINFOMSG.size, len(answer))
    return Link(
        index,
        attributes.get(IFLA_NAME, b"").rstrip(b"\0").decode(errors="replace"),
        attributes.get(IFLA_ADDRESS, b"").hex(":"),
        _number(attributes, IFLA_MTU),
        bool(flags & LINK_UP),
        _number(attributes, IFLA_LINK),
        attributes.get(IFLA_OPERSTATE) == bytes([OPER_UP]),
    )


# --- addresses and neighbours ---------------------------------------------------------------------------


def address(width: int, value: int, index: int, *, length: int = 0, link_local: bool = False) -> bytes:
    """RTM_NEWADDR: set an address, or replace it. `length`: of its prefix; 0: the full width. Without
    duplicate address detection (DAD), for which a pod would wait a second."""
    family, data = FAMILY[width], packed(width, value)
    scope = SCOPE_LINK if link_local else SCOPE_UNIVERSE
    body = IFADDRMSG.pack(family, length or width, 0, scope, index)
    body += messages.attribute(IFA_LOCAL, data) + messages.attribute(IFA_ADDRESS, data)
    body += messages.number(IFA_FLAGS, IFA_F_NODAD) if width == V6 else b""
    return messages.message(NEWADDR, CREATE | REPLACE, body)


def gateway(value: int, index: int) -> bytes:
    """RTM_NEWADDR: give the host's end the IPv6 address that is its pod's gateway."""
    return address(V6, value, index, length=64, link_local=True)


def get_addresses(index: int = 0, width: int = 0) -> bytes:
    """RTM_GETADDR: dump the addresses of a link, or of all (0), of one family, or of all (0); `addresses`
    parses the answer."""
    return messages.message(GETADDR, 0, IFADDRMSG.pack(FAMILY.get(width, 0), 0, 0, 0, index))


def addresses(parts: Iterable[bytes], index: int) -> set[tuple[int, int]]:
    """The addresses of a link in the RTM_NEWADDR messages of a dump, as (width, value)."""
    addresses = set()
    for part, start, end in messages.bodies(parts, NEWADDR):
        family, _, _, _, of_link = IFADDRMSG.unpack_from(part, start)
        if of_link != index or family not in WIDTH:
            continue
        attributes = messages.values(part, start + IFADDRMSG.size, end)
        data = attributes.get(IFA_LOCAL, attributes.get(IFA_ADDRESS, b""))
        addresses.add((WIDTH[family], int.from_bytes(data, "big")))
    return addresses


def neighbour(width: int, value: int, index: int, mac: str) -> bytes:
    """RTM_NEWNEIGH: set a permanent neighbour, so that ARP or neighbour discovery is not needed for it."""
    body = NDMSG.pack(FAMILY[width], index, NUD_PERMANENT, 0, 0)
    body += messages.attribute(NDA_DST, packed(width, value)) + messages.attribute(NDA_LLADDR, _mac(mac))
    return messages.message(NEWNEIGH, CREATE | REPLACE, body)


def proxy(width: int, value: int, index: int) -> bytes:
    """RTM_NEWNEIGH with NTF_PROXY: answer ARP or neighbour discovery for this address on this link.
    Permanent: else the kernel would remove it when the link loses its carrier."""
    body = NDMSG.pack(FAMILY[width], index, NUD_PERMANENT, NTF_PROXY, 0) + messages.attribute(
        NDA_DST, packed(width, value)
    )
    return messages.message(NEWNEIGH, CREATE | REPLACE, body)


# --- routes ---------------------------------------------------------------------------------------------


def on_link(width: int, value: int, index: int, *, protocol: int = BOOT, replace: bool = False) -> bytes:
    """RTM_NEWROUTE: add a route to one address, on-link. `protocol`: rtm_protocol. The kernel answers EEXIST
    if there is one, unless `replace`."""
    flags = CREATE | (REPLACE if replace else EXCL)
    scope = SCOPE_LINK if width == V4 else SCOPE_UNIVERSE
    body = RTMSG.pack(FAMILY[width], width, 0, 0, TABLE_MAIN, protocol, scope, UNICAST, 0)
    body += messages.attribute(RTA_DST, packed(width, value)) + messages.number(RTA_OIF, index)
    return messages.message(NEWROUTE, flags, body)


def not_on_link(width: int, value: int, index: int, protocol: int) -> bytes:
    """RTM_DELROUTE: remove a route to one address over one link. The kernel answers ESRCH if there is
    none."""
    body = RTMSG.pack(FAMILY[width], width, 0, 0, TABLE_MAIN, protocol, SCOPE_NOWHERE, UNICAST, 0)
    body += messages.attribute(RTA_DST, packed(width, value)) + messages.number(RTA_OIF, index)
    return messages.message(DELROUTE, 0, body)


def default_via(width: int, gateway: int, index: int) -> bytes:
    """RTM_NEWROUTE: add a default route. The kernel answers EEXIST if there is one."""
    body = RTMSG.pack(FAMILY[width], 0, 0, 0, TABLE_MAIN, BOOT, SCOPE_UNIVERSE, UNICAST, 0)
    body += messages.attribute(RTA_GATEWAY, packed(width, gateway)) + messages.number(RTA_OIF, index)
    return messages.message(NEWROUTE, CREATE | EXCL, body)


def get_route(width: int, value: int) -> bytes:
    """RTM_GETROUTE: look up the route of a packet to this address, in the form of the table's entry
    (RTM_F_FIB_MATCH)."""
    body = RTMSG.pack(FAMILY[width], width, 0, 0, 0, 0, 0, 0, FIB_MATCH)
    return messages.message(GETROUTE, 0, body + messages.attribute(RTA_DST, packed(width, value)))


def get_routes(width: int, protocol: int = 0, oif: int = 0) -> bytes:
    """RTM_GETROUTE: dump the routes of the main table. `protocol`, `oif`: only those of one protocol, over
    one link; 0: all. `routes` parses the answer."""
    body = RTMSG.pack(FAMILY[width], 0, 0, 0, TABLE_MAIN, protocol, 0, 0, 0)
    return messages.message(GETROUTE, 0, body + (messages.number(RTA_OIF, oif) if oif else b""))


def routes(parts: Iterable[bytes]) -> Iterator[Route]:
    """The routes in the RTM_NEWROUTE messages of a dump."""
    for part, start, end in messages.bodies(parts, NEWROUTE):
        family, length, _, _, _, protocol, _, _, _ = RTMSG.unpack_from(part, start)
        if family not in WIDTH:
            continue
        attributes = messages.values(part, start + RTMSG.size, end)
        gateway = attributes.get(RTA_GATEWAY)
        yield Route(
            WIDTH[family],
            int.from_bytes(attributes.get(RTA_DST, b""), "big"),
            length,
            _number(attributes, RTA_OIF),
            None if gateway is None else int.from_bytes(gateway, "big"),
            protocol,
        )


# --- parsing --------------------------------------------------------------------------------------------


def _number(attributes: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(attributes.get(kind, b"")[:4], sys.byteorder)
