"""What others do to the kernel's links, addresses, routes and nexthops, as it happens.

It reads multicast notifications, and writes nothing. What our own requests cause is dropped inside the
kernel by a filter on the socket, as FRR's zebra does (netlink_install_filter in zebra/kernel_netlink.c), so
that writing in bulk costs nothing here; so are the host routes of pods, which come and go all day. When more
comes than the socket has room for, the kernel says so (ENOBUFS), and everything has to be looked at anew.
"""

from __future__ import annotations

import ctypes
import errno
import re
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from romana_bus.inet import V4, V6, Prefix
from romana_bus.netlink.messages import (
    ADD_MEMBERSHIP,
    NETLINK_ROUTE,
    SOL_NETLINK,
    attributes,
    messages,
    sized,
)
from romana_bus.netlink.routes import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Iterator

# linux/rtnetlink.h: RTNLGRP_*: links, and of both families addresses, routes and rules; nexthops
_GROUPS = (1, 5, 9, 7, 11, 8, 19, 32)
_LINKS, _ADDRESSES, _ROUTES, _RULES, _NEXTHOPS = (16, 17), (20, 21), (24, 25), (32, 33), (104, 105)
_SO_ATTACH_FILTER = 26
#: The protocol of the host routes of pods, which no other host's address is behind.
POD_PROTOCOL = 83
#: The host's end of a pod's link.
_POD_LINK = re.compile(rb"rb[0-9a-f]{13}\0")
_WIDTH = {2: V4, 10: V6}
_SCOPE_LINK = 253
#: Of more changed routes of others than these, it is not kept which addresses each concerns.
PREFIXES = 64
_IFNAME, _DST = 3, 1
_ROOM = 1 << 21


class Seen(NamedTuple):
    """What is to be looked at anew: `ours`: routes or nexthops of ours were changed by somebody else;
    `prefixes`: where the kernel's way to an address may be another now; `all`: everything may be."""

    ours: bool = False
    prefixes: frozenset[Prefix] = frozenset()
    all: bool = False

    def __bool__(self) -> bool:
        return self.ours or self.all or bool(self.prefixes)

    def __or__(self, other: Seen) -> Seen:
        ours, prefixes = self.ours or other.ours, self.prefixes | other.prefixes
        if self.all or other.all or len(prefixes) > PREFIXES:
            return Seen(ours, frozenset(), all=True)
        return Seen(ours, prefixes)


class Monitor:
    """`port`: that of the socket whose changes are our own. Never blocks."""

    def __init__(self, port: int, room: int = _ROOM) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_ROUTE
        )
        try:
            sized(self._socket, room)
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

    def take(self, at_most: int = 1000) -> Seen:
        """What has been heard since. Raises OSError."""
        seen = Seen()
        for _ in range(at_most):
            try:
                heard = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                seen |= Seen(ours=True, all=True)
                continue
            for one in _read(heard):
                seen |= one
        return seen


def _read(heard: bytes) -> Iterator[Seen]:
    for kind, _, _, start, end in messages(heard):
        if kind in _ROUTES:
            yield _route(heard, start, end)
        elif kind in _NEXTHOPS:
            if heard[start + 2] == PROTOCOL:
                yield Seen(ours=True)
        elif kind in _LINKS:
            # A link that goes down takes nexthops and IPv4 routes with it, without a word about them.
            names = (
                heard[first:last] for at, first, last in attributes(heard, start + 16, end) if at == _IFNAME
            )
            if not any(map(_POD_LINK.fullmatch, names)):
                yield Seen(ours=True, all=True)
        elif kind in _ADDRESSES:
            if heard[start + 3] < _SCOPE_LINK:
                yield Seen(ours=True, all=True)
        elif kind in _RULES:
            yield Seen(all=True)


def _route(heard: bytes, start: int, end: int) -> Seen:
    """struct rtmsg: family, length, ..., protocol, ..."""
    width, length, protocol = _WIDTH.get(heard[start], 0), heard[start + 1], heard[start + 5]
    if protocol == PROTOCOL:
        return Seen(ours=True)
    if not width:
        return Seen()
    base = 0
    for kind, first, last in attributes(heard, start + 12, end):
        if kind == _DST:
            base = int.from_bytes(heard[first:last], "big")
    return Seen(prefixes=frozenset([Prefix(width, base, length)]))


def _without(port: int) -> list[tuple[int, int, int, int]]:
    """Classic BPF: drop what `port` caused and the routes of pods. It loads in network order."""
    load_word, load_half, load_byte, equal, give = 0x20, 0x28, 0x30, 0x15, 0x06
    new, gone = (socket.htons(kind) for kind in _ROUTES)
    return [
        (load_word, 0, 0, 12),  # nlmsghdr.nlmsg_pid
        (equal, 6, 0, socket.htonl(port)),
        (load_half, 0, 0, 4),  # nlmsghdr.nlmsg_type
        (equal, 1, 0, new),
        (equal, 0, 2, gone),
        (load_byte, 0, 0, 16 + 5),  # rtmsg.rtm_protocol
        (equal, 1, 0, POD_PROTOCOL),
        (give, 0, 0, 0xFFFFFFFF),
        (give, 0, 0, 0),
    ]


def _attach(to: socket.socket, program: list[tuple[int, int, int, int]]) -> None:
    """struct sock_fprog: how many instructions, and where they are."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    to.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
    )
