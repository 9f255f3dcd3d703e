"""Our routes and nexthops in the kernel: read by dumps, and changed by a Delta; and which address is on-link.

Reads and writes routes of our protocol in the main table, and nexthop objects of our id range. Everything
runs in short steps, so that other tasks of the thread can run between them.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Self

from romana_bus.inet import V4, V6
from romana_bus.netlink import nexthops, node_network, routes
from romana_bus.netlink.fib_apply import DeltaWriter
from romana_bus.netlink.fib_dump import read_dump
from romana_bus.netlink.socket import Failure, NetlinkError, Socket, dump

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from romana_bus.netlink.node_network import Reached
    from romana_bus.routing import Address, Delta, Kernel, Network

#: Lookups in one system call: an answer takes 4 KB of the socket's buffer until it is read.
LOOKUPS = 256
_NO_OBJECTS = (errno.EOPNOTSUPP, errno.EINVAL)


class Forwarding:
    """`objects`: whether to use nexthop objects; None: if the kernel has them."""

    def __init__(self, objects: bool | None = None) -> None:
        self._socket = Socket()
        self._wanted = objects
        self._objects_exist = True
        self._last: list[list[bytes]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def port(self) -> int:
        """The port id of our socket: the kernel's notifications contain that of the cause."""
        return self._socket.port

    def ask(self, addresses: Sequence[Address]) -> Iterator[dict[Address, int]]:
        """Looks up, in steps, the interface on whose link each address is; yields address -> its index, or 0
        if the address is not on-link. Raises OSError."""
        for start in range(0, len(addresses), LOOKUPS):
            asked = addresses[start : start + LOOKUPS]
            answers = self._socket.ask([routes.get_route(*address) for address in asked])
            yield {
                address: 0 if isinstance(answer, Failure) else routes.link_of(answer)
                for address, answer in zip(asked, answers, strict=True)
            }

    def network(self, reached: Reached) -> Network:
        """What this node lives on. Raises OSError, Interrupted."""
        return node_network.read(self._socket, reached)

    def read(self, kernel: Kernel) -> Iterator[None]:
        """Dump into `kernel`, in steps; do nothing if the dump is the same as the last one. The kernel
        returns the same bytes while nothing changes, and comparing them is cheap. Raises OSError,
        Interrupted."""
        dumped = [self._nexthops(), self._dump(routes.dump_own(V4)), self._dump(routes.dump_own(V6))]
        if dumped == self._last:
            return
        kernel.objects = self._objects_exist if self._wanted is None else self._wanted
        yield from read_dump(kernel, dumped)
        self._last, kernel.fresh = dumped, True

    def _nexthops(self) -> list[bytes]:
        try:
            return self._dump(nexthops.dump_all()) if self._objects_exist else []
        except NetlinkError as error:
            if error.errno not in _NO_OBJECTS:
                raise
            self._objects_exist = False
            return []

    def _dump(self, request: bytes) -> list[bytes]:
        return dump(self._socket, request)

    def apply(self, delta: Delta, kernel: Kernel) -> Iterator[int]:
        """Apply the changes in the delta's order, and note in `kernel` those that were made; yields the
        number of changes of each step. Raises OSError, and Unapplied at the end if the kernel refused
        some."""
        self._last = None
        yield from DeltaWriter(self._socket, kernel).apply(delta)
