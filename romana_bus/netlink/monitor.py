"""Notices changes that others make to the kernel's links, addresses, routes and nexthops.

Reads multicast notifications; writes nothing. A filter on the socket drops, inside the kernel, notifications
of our own requests, as FRR's zebra does (netlink_install_filter in zebra/kernel_netlink.c), so that bulk
writes cost nothing here. It also drops those of the host routes of pods, which change all day. When the
socket's buffer overflows, the kernel reports ENOBUFS, and everything counts as changed.
"""

from __future__ import annotations

import ctypes
import errno
import re
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from romana_bus.inet import Prefix
from romana_bus.netlink.constants import (
    ADD_MEMBERSHIP,
    ADDRESS_GROUPS,
    BLOCK_ROUTES,
    DELADDR,
    DELLINK,
    DELNEXTHOP,
    DELROUTE,
    DELRULE,
    IFLA_NAME,
    LINKS_GROUP,
    NETLINK_ROUTE,
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
    SO_ATTACH_FILTER,
    SOL_NETLINK,
    WIDTH,
)
from romana_bus.netlink.messages import attributes, messages
from romana_bus.netlink.socket import set_buffers

if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUPS = (LINKS_GROUP, *ADDRESS_GROUPS, *ROUTE_GROUPS, *RULE_GROUPS, NEXTHOP_GROUP)
_LINKS, _ADDRESSES, _ROUTES = (NEWLINK, DELLINK), (NEWADDR, DELADDR), (NEWROUTE, DELROUTE)
_RULES, _NEXTHOPS = (NEWRULE, DELRULE), (NEWNEXTHOP, DELNEXTHOP)
#: The host's end of a pod's link.
_POD_LINK = re.compile(rb"rb[0-9a-f]{13}\0")
#: After changes of more foreign routes than these, all addresses are looked up again.
PREFIXES = 64
_BUFFER = 1 << 21


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


class Monitor:
    """The non-blocking notification socket. `port`: port id of the socket that makes our own changes."""

    def __init__(self, port: int, buffer: int = _BUFFER) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_ROUTE
        )
        try:
            set_buffers(self._socket, buffer)
            _attach(self._socket, _without(port))
            self._socket.bind((0, 0))
            for group in _GROUPS:
                try:
                    self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # the kernel has no nexthop objects
                        raise
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self, at_most: int = 1000) -> Stale:
        """The changes since the last call, from at most so many reads. Raises OSError."""
        stale = Stale()
        for _ in range(at_most):
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                stale |= Stale(ours=True, all=True)
                continue
            for change in _parse(data):
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


def _without(port: int) -> list[tuple[int, int, int, int]]:
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


def _attach(to: socket.socket, program: list[tuple[int, int, int, int]]) -> None:
    """Attach a filter (struct sock_fprog: number and address of the instructions)."""
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    )
    to.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
    )
