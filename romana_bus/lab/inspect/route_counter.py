"""Counts route changes in every namespace, from the kernels' netlink notifications.

A monitor is a netlink socket in a namespace; its notifications are read at the end. Only the main table
counts. A node's routes to its own pods (/32, /128) are counted separately.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, NamedTuple, Self

from romana_bus.errors import Failed
from romana_bus.inet import parse_prefix
from romana_bus.lab.machine import netns
from romana_bus.netlink.constants import (
    ADD_MEMBERSHIP,
    CLONED,
    POD_ROUTES,
    ROUTE_GROUPS,
    SO_RCVBUFFORCE,
    SOL_NETLINK,
    TABLE_MAIN,
)
from romana_bus.netlink.socket import RECEIVE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.inet import Prefix

#: Prefixes that the kernel adds for every link by itself.
_LINK_LOCAL = parse_prefix("fe80::/10")


class Change(NamedTuple):
    """A route that was added, or deleted (`added` false). `protocol`: rtm_protocol."""

    added: bool
    prefix: str
    protocol: int


class Monitor:
    """Listens in one namespace. Raises Failed if that is not possible."""

    def __init__(self, namespace: str) -> None:
        with netns.inside(namespace):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
        self._socket.bind((0, 0))
        for group in ROUTE_GROUPS:
            self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
        self._socket.setblocking(False)

    def take(self) -> list[Change]:
        """The changes since the last call. Raises Failed if the socket's buffer has overflowed."""
        changes: list[Change] = []
        while True:
            try:
                data = self._socket.recv(RECEIVE_SIZE)
            except BlockingIOError:
                return changes
            except OSError as error:
                raise Failed(f"routes changed faster than they could be counted: {error.strerror}") from None
            changes += read(data)

    def close(self) -> None:
        self._socket.close()


class Monitors:
    """One monitor per namespace: `with Monitors(namespaces) as monitors: ...; monitors.take()`"""

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
    """The changes in the bytes of one read."""
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl

    for message in MarshalRtnl().parse(data):
        is_route = message["event"] in ("RTM_NEWROUTE", "RTM_DELROUTE")
        if is_route and message["table"] == TABLE_MAIN and not message["flags"] & CLONED:
            address = message.get("RTA_DST") or ("::" if message["family"] == socket.AF_INET6 else "0.0.0.0")
            prefix = f"{address}/{message['dst_len']}"
            yield Change(message["event"] == "RTM_NEWROUTE", prefix, message["proto"])


class Tally(NamedTuple):
    """Counts of route changes in one namespace. `outside`: to prefixes outside its subnet. `inside`: routes
    added to prefixes in it. `replaced`: routes that those replaced. `own`: routes to its own pods."""

    outside: int
    inside: int
    replaced: int
    own: int


def tally(changes: Iterable[Change], subnet: Iterable[Prefix]) -> Tally:
    """Counts the changes of one namespace. `subnet`: the pod prefixes of its zone; empty for the router, for
    which every prefix is outside."""
    outside = inside = replaced = own = 0
    ours = tuple(subnet)
    for change in changes:
        prefix = parse_prefix(change.prefix)
        if change.protocol == POD_ROUTES or _LINK_LOCAL.contains(prefix):
            own += 1
        elif not any(own_prefix.contains(prefix) for own_prefix in ours):
            outside += 1
        elif change.added:
            inside += 1
        else:
            replaced += 1
    return Tally(outside, inside, replaced, own)
