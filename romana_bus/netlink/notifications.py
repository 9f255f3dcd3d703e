"""A non-blocking socket of multicast notifications, behind a filter that drops messages inside the kernel."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from typing import TYPE_CHECKING, Self

from romana_bus.netlink.constants import ADD_MEMBERSHIP, NETLINK_ROUTE, SO_ATTACH_FILTER, SOL_NETLINK
from romana_bus.netlink.socket import set_buffers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: An instruction of classic BPF: code, jumps if true and if false, operand (struct sock_filter).
Instruction = tuple[int, int, int, int]
BUFFER = 1 << 21
#: A filter that passes everything.
EVERYTHING: list[Instruction] = [(0x06, 0, 0, 0xFFFFFFFF)]
_READS = 1000


class Notifications:
    """`program`: the filter. `groups`: RTNLGRP_*; those that the kernel does not have are left out."""

    def __init__(self, program: list[Instruction], groups: Iterable[int], buffer: int = BUFFER) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_ROUTE
        )
        try:
            set_buffers(self._socket, buffer)
            _attach(self._socket, program)
            self._socket.bind((0, 0))
            for group in groups:
                try:
                    self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
                except OSError as error:
                    if error.errno != errno.EINVAL:
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

    def reads(self) -> Iterator[bytes | None]:
        """What has arrived, at most a thousand reads; None: the buffer overflowed, and notifications are
        lost. Raises OSError."""
        for _ in range(_READS):
            try:
                yield self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None


def _attach(to: socket.socket, program: list[Instruction]) -> None:
    """Attach a filter (struct sock_fprog: number and address of the instructions)."""
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    )
    to.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
    )
