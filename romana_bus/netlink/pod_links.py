"""What pods' links have, from one dump of each kind for the whole node: ends, gateways, routes.

Requests and parsers, as in `links.py`.
"""

from __future__ import annotations

import sys
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.netlink import messages
from romana_bus.netlink.constants import (
    CONF6_ACCEPT_RA,
    CONF6_DISABLED,
    CONF_FORWARDING,
    CONF_RP_FILTER,
    FAMILY,
    GETLINK,
    GETNEIGH,
    IFA_ADDRESS,
    IFADDRMSG,
    IFINFOMSG,
    IFLA_AF_SPEC,
    IFLA_EXT_MASK,
    IFLA_NAME,
    INET6_CONF,
    INET_CONF,
    LINK_UP,
    NDA_DST,
    NDMSG,
    NEWADDR,
    NEWLINK,
    NEWNEIGH,
    NTF_PROXY,
    SKIP_STATS,
)
from romana_bus.netlink.links import packed

if TYPE_CHECKING:
    from collections.abc import Iterable


class HostEnd(NamedTuple):
    """The host's end of a pod's link. `accept_ra`, `disable_ipv6`: -1 if the link has no IPv6 at all."""

    ifindex: int
    up: bool
    forwarding: int
    rp_filter: int
    accept_ra: int
    disable_ipv6: int


def get_links() -> bytes:
    """RTM_GETLINK: dump all links without their counters; `host_ends` parses the answer."""
    body = IFINFOMSG.pack(0, 0, 0, 0, 0) + messages.number(IFLA_EXT_MASK, SKIP_STATS)
    return messages.message(GETLINK, 0, body)


def host_ends(parts: Iterable[bytes], prefix: str) -> dict[str, HostEnd]:
    """Name -> link, of the links whose names begin with `prefix`."""
    ends, start_of_name = {}, prefix.encode()
    for part, start, end in messages.bodies(parts, NEWLINK):
        family, _, index, flags, _ = IFINFOMSG.unpack_from(part, start)
        attributes = messages.values(part, start + IFINFOMSG.size, end)
        name = attributes.get(IFLA_NAME, b"")
        if family or not name.startswith(start_of_name):
            continue
        spec = attributes.get(IFLA_AF_SPEC, b"")
        families = messages.values(spec, 0, len(spec))
        four = _settings(families.get(AF_INET), INET_CONF)
        six = _settings(families.get(AF_INET6), INET6_CONF)
        ends[name.rstrip(b"\0").decode(errors="replace")] = HostEnd(
            index,
            bool(flags & LINK_UP),
            _at(four, CONF_FORWARDING - 1),
            _at(four, CONF_RP_FILTER - 1),
            _at(six, CONF6_ACCEPT_RA),
            _at(six, CONF6_DISABLED),
        )
    return ends


def _settings(family: bytes | None, conf: int) -> bytes:
    return messages.values(family, 0, len(family)).get(conf, b"") if family else b""


def _at(settings: bytes, number: int) -> int:
    """One of an array of int32; -1 if it is not there."""
    data = settings[number * 4 : number * 4 + 4]
    return int.from_bytes(data, sys.byteorder, signed=True) if data else -1


def links_with(parts: Iterable[bytes], width: int, value: int) -> frozenset[int]:
    """The indexes of the links that have the address; `links.get_addresses` asks for all."""
    wanted = packed(width, value)
    return frozenset(
        IFADDRMSG.unpack_from(part, start)[4]
        for part, start, end in messages.bodies(parts, NEWADDR)
        if messages.values(part, start + IFADDRMSG.size, end).get(IFA_ADDRESS) == wanted
    )


def get_proxies(width: int) -> bytes:
    """RTM_GETNEIGH with NTF_PROXY: dump the proxy neighbour entries of one family, of all links; `proxied_on`
    parses the answer."""
    return messages.message(GETNEIGH, 0, NDMSG.pack(FAMILY[width], 0, 0, NTF_PROXY, 0))


def proxied_on(parts: Iterable[bytes], width: int, value: int) -> frozenset[int]:
    """The indexes of the links on which the kernel answers for the address."""
    wanted = packed(width, value)
    return frozenset(
        NDMSG.unpack_from(part, start)[1]
        for part, start, end in messages.bodies(parts, NEWNEIGH)
        if NDMSG.unpack_from(part, start)[3] & NTF_PROXY
        and messages.values(part, start + NDMSG.size, end).get(NDA_DST) == wanted
    )
