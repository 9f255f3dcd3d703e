"""The kernel's routes and nexthops of ours: read by dumps, asked what is on-link, and changed by a Delta.

It reads and writes routes of our protocol in the main table, and nexthop objects of our id range. All is
in short steps, so that whoever shares the thread gets its turn between them.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Self

from romana_bus.inet import V4, V6
from romana_bus.netlink import nexthops, routes
from romana_bus.netlink.fib_apply import Changing
from romana_bus.netlink.fib_dump import take_in
from romana_bus.netlink.messages import Failure, NetlinkError, Socket, dump

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from romana_bus.routing import Address, Delta, Kernel

#: Questions in one system call: an answer takes 4 KB of the socket's room until it is read.
QUESTIONS = 256
_NO_OBJECTS = (errno.EOPNOTSUPP, errno.EINVAL)


class Forwarding:
    """`objects`: None finds out whether the kernel has nexthop objects; False does without them."""

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
        """By which the kernel's notifications tell who caused them."""
        return self._socket.port

    def ask(self, addresses: Sequence[Address]) -> Iterator[dict[Address, int]]:
        """For each address the interface on whose link it is, or 0; in steps. Raises OSError."""
        for at in range(0, len(addresses), QUESTIONS):
            asked = addresses[at : at + QUESTIONS]
            answers = self._socket.ask([routes.where(*address) for address in asked])
            yield {
                address: 0 if isinstance(answer, Failure) else routes.link_of(answer)
                for address, answer in zip(asked, answers, strict=True)
            }

    def read(self, kernel: Kernel) -> Iterator[None]:
        """Dump, and where that is not what it was after the last one, put it into `kernel`. The kernel
        answers with the same bytes while nothing changes, and comparing them costs next to nothing.
        Raises OSError, Interrupted."""
        dumped = [self._nexthops(), self._dump(routes.ours(V4)), self._dump(routes.ours(V6))]
        if dumped == self._last:
            return
        kernel.objects = self._objects_exist if self._wanted is None else self._wanted
        yield from take_in(kernel, dumped)
        self._last, kernel.fresh = dumped, True

    def _nexthops(self) -> list[bytes]:
        try:
            return self._dump(nexthops.all_of_them()) if self._objects_exist else []
        except NetlinkError as error:
            if error.errno not in _NO_OBJECTS:
                raise
            self._objects_exist = False
            return []

    def _dump(self, request: bytes) -> list[bytes]:
        return dump(self._socket, request)

    def apply(self, delta: Delta, kernel: Kernel) -> Iterator[int]:
        """Make the changes, in the delta's order, and note in `kernel` those that were made; gives the
        number of each step. Raises OSError, and Unapplied when all others are made."""
        self._last = None
        yield from Changing(self._socket, kernel).all_of(delta)
