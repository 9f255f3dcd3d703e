"""Counting the routes that change: the kernels' own notifications, heard in every namespace at once.

A monitor is a netlink socket in its namespace; what it has heard is read at the end. Only the main table
counts, and only what is no pod's own /32 (or /128) on its own node, which has a count of its own.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from romana_bus.errors import Failed
from romana_bus.inet import V4, V6, Prefix, format_address, parse_prefix
from romana_bus.lab.machine import netns
from romana_bus.netlink.messages import attributes, messages
from romana_bus.netlink.socket import ROOM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# linux/rtnetlink.h
_NEWROUTE, _DELROUTE = 24, 25
_GROUPS = (7, 11)  # RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE
_SOL_NETLINK, _ADD_MEMBERSHIP, _RCVBUFFORCE = 270, 1, 33
_RTMSG = struct.Struct("=BBBBBBBBI")
_MAIN, _RTA_DST = 254, 1
_CLONED = 0x200  # RTM_F_CLONED: an entry of a cache

#: The protocol number of pods' own routes on their node.
POD_ROUTES = 83
#: What the kernel gives every link by itself.
_LINK_LOCAL = parse_prefix("fe80::/10")


class Change(NamedTuple):
    """One route that came (`added`) or went. `protocol`: who made it."""

    added: bool
    prefix: str
    protocol: int

    @property
    def is_pods_own(self) -> bool:
        return self.protocol == POD_ROUTES


class Monitor:
    """One namespace's. Raises Failed where it cannot listen."""

    def __init__(self, namespace: str) -> None:
        with netns.inside(namespace):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 22)
        self._socket.bind((0, 0))
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._socket.setblocking(False)

    def take(self) -> list[Change]:
        """What has changed since it was asked last. Raises Failed where that was too much to keep."""
        found: list[Change] = []
        while True:
            try:
                data = self._socket.recv(ROOM)
            except BlockingIOError:
                return found
            except OSError as error:
                raise Failed(f"routes changed faster than they could be counted: {error.strerror}") from None
            found += read(data)

    def close(self) -> None:
        self._socket.close()


class Monitors:
    """`with Monitors(namespaces) as monitors: ...; monitors.take()`"""

    def __init__(self, namespaces: Iterable[str]) -> None:
        self._namespaces = tuple(namespaces)
        self._opened: dict[str, Monitor] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for name in self._namespaces:
                self._opened[name] = Monitor(name)
                stack.callback(self._opened[name].close)
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def take(self) -> dict[str, list[Change]]:
        return {name: monitor.take() for name, monitor in self._opened.items()}


def read(data: bytes) -> Iterator[Change]:
    """The changes in what one read gave."""
    for kind, _flags, _sequence, start, end in messages(data):
        if kind in (_NEWROUTE, _DELROUTE):
            family, length, _, _, table, protocol, _, _, flags = _RTMSG.unpack_from(data, start)
            if table == _MAIN and not flags & _CLONED:
                prefix = _prefix(data, start + _RTMSG.size, end, family, length)
                yield Change(kind == _NEWROUTE, prefix, protocol)


def _prefix(data: bytes, start: int, end: int, family: int, length: int) -> str:
    width = V4 if family == socket.AF_INET else V6
    value = 0
    for kind, first, last in attributes(data, start, end):
        if kind == _RTA_DST:
            value = int.from_bytes(data[first:last], "big")
    return f"{format_address(width, value)}/{length}"


class Tally(NamedTuple):
    """What changed in one namespace. `outside`: for addresses outside its own subnet; `inside`: routes
    that came for addresses in it, and `replaced`: that went for that; `own`: of its own pods."""

    outside: int
    inside: int
    replaced: int
    own: int


def tally(changes: Iterable[Change], subnet: Iterable[Prefix]) -> Tally:
    """`subnet`: the prefixes of the pods of its zone; the router has none, so all is outside."""
    outside = inside = replaced = own = 0
    ours = tuple(subnet)
    for change in changes:
        prefix = parse_prefix(change.prefix)
        if change.protocol == POD_ROUTES or _LINK_LOCAL.contains(prefix):
            own += 1
        elif not any(one.contains(prefix) for one in ours):
            outside += 1
        elif change.added:
            inside += 1
        else:
            replaced += 1
    return Tally(outside, inside, replaced, own)
