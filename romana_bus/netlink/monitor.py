"""Notices changes that others make to the kernel's links, addresses, routes and nexthops.

Reads multicast notifications; writes nothing. A filter on the socket drops, inside the kernel, notifications
of our own requests, as FRR's zebra does (netlink_install_filter in zebra/kernel_netlink.c), so that bulk
writes cost nothing here. It also drops those of the host routes of pods, which change all day: `removals.py`
is for them. When the socket's buffer overflows, the kernel reports ENOBUFS, and everything counts as changed.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import Prefix
from romana_bus.netlink.constants import (
    ADDRESS_GROUPS,
    BLOCK_ROUTES,
    DELADDR,
    DELLINK,
    DELNEXTHOP,
    DELROUTE,
    DELRULE,
    IFLA_NAME,
    LINKS_GROUP,
    NEWADDR,
    NEWLINK,
    NEWNEXTHOP,
    NEWROUTE,
    NEWRULE,
    NEXTHOP_GROUP,
    POD_ROUTES,
    ROUTE_GROUPS,
    RTA_DST,
    RULE_GROUPS,
    SCOPE_LINK,
    WIDTH,
)
from romana_bus.netlink.messages import attributes, messages
from romana_bus.netlink.notifications import BUFFER, Instruction, Notifications

if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUPS = (LINKS_GROUP, *ADDRESS_GROUPS, *ROUTE_GROUPS, *RULE_GROUPS, NEXTHOP_GROUP)
_LINKS, _ADDRESSES, _ROUTES = (NEWLINK, DELLINK), (NEWADDR, DELADDR), (NEWROUTE, DELROUTE)
_RULES, _NEXTHOPS = (NEWRULE, DELRULE), (NEWNEXTHOP, DELNEXTHOP)
#: The host's end of a pod's link.
_POD_LINK = re.compile(rb"rb[0-9a-f]{13}\0")
#: After changes of more foreign routes than these, all addresses are looked up again.
PREFIXES = 64


class Stale(NamedTuple):
    """What has to be read again. `ours`: somebody else changed our routes or nexthops. `prefixes`: the
    kernel's route to addresses in them may have changed. `all`: any route may have changed."""

    ours: bool = False
    prefixes: frozenset[Prefix] = frozenset()
    all: bool = False

    def __bool__(self) -> bool:
        return self.ours or self.all or bool(self.prefixes)

    def __or__(self, other: Stale) -> Stale:
        ours, prefixes = self.ours or other.ours, self.prefixes | other.prefixes
        if self.all or other.all or len(prefixes) > PREFIXES:
            return Stale(ours, frozenset(), all=True)
        return Stale(ours, prefixes)


class Monitor(Notifications):
    """The notification socket. `port`: port id of the socket that makes our own changes."""

    def __init__(self, port: int, buffer: int = BUFFER) -> None:
        super().__init__(_without(port), _GROUPS, buffer)

    def take(self) -> Stale:
        """The changes since the last call. Raises OSError."""
        stale = Stale()
        for data in self.reads():
            for change in [Stale(ours=True, all=True)] if data is None else _parse(data):
                stale |= change
        return stale


def _parse(data: bytes) -> Iterator[Stale]:
    for kind, _, _, start, end in messages(data):
        if kind in _ROUTES:
            yield _route(data, start, end)
        elif kind in _NEXTHOPS:
            if data[start + 2] == BLOCK_ROUTES:
                yield Stale(ours=True)
        elif kind in _LINKS:
            # A link that goes down removes nexthops and IPv4 routes without a notification of them.
            names = (
                data[first:last]
                for name, first, last in attributes(data, start + 16, end)
                if name == IFLA_NAME
            )
            if not any(map(_POD_LINK.fullmatch, names)):
                yield Stale(ours=True, all=True)
        elif kind in _ADDRESSES:
            if data[start + 3] < SCOPE_LINK:
                yield Stale(ours=True, all=True)
        elif kind in _RULES:
            yield Stale(all=True)


def _route(data: bytes, start: int, end: int) -> Stale:
    """struct rtmsg: family, length, ..., protocol, ..."""
    width, length, protocol = WIDTH.get(data[start], 0), data[start + 1], data[start + 5]
    if protocol == BLOCK_ROUTES:
        return Stale(ours=True)
    if not width:
        return Stale()
    base = 0
    for kind, first, last in attributes(data, start + 12, end):
        if kind == RTA_DST:
            base = int.from_bytes(data[first:last], "big")
    return Stale(prefixes=frozenset([Prefix(width, base, length)]))


def _without(port: int) -> list[Instruction]:
    """Classic BPF that drops notifications caused by `port`, and those of pods' routes. Loads are in network
    byte order."""
    load_word, load_half, load_byte, equal, give = 0x20, 0x28, 0x30, 0x15, 0x06
    new, gone = (socket.htons(kind) for kind in _ROUTES)
    return [
        (load_word, 0, 0, 12),  # nlmsghdr.nlmsg_pid
        (equal, 6, 0, socket.htonl(port)),
        (load_half, 0, 0, 4),  # nlmsghdr.nlmsg_type
        (equal, 1, 0, new),
        (equal, 0, 2, gone),
        (load_byte, 0, 0, 16 + 5),  # rtmsg.rtm_protocol
        (equal, 1, 0, POD_ROUTES),
        (give, 0, 0, 0xFFFFFFFF),
        (give, 0, 0, 0),
    ]
