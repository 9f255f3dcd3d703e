"""A netlink socket that sends requests in batches, and dumps.

A batch is one system call and one acknowledgement: only the last message requests one, and the kernel answers
any other message only if it failed (netlink_rcv_skb in net/netlink/af_netlink.c continues after a message
that failed). So a few hundred changes cost one round trip, and every error is still seen.

A socket always belongs to the network namespace of the thread that created it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from romana_bus.netlink.constants import (
    ACK,
    ACK_TLVS,
    ADD_MEMBERSHIP,
    CAP_ACK,
    CAPPED,
    DUMP,
    DUMP_INTERRUPTED,
    ERROR_TEXT,
    EXT_ACK,
    MULTI,
    NETLINK_ROUTE,
    NLMSG_DONE,
    NLMSG_ERROR,
    SO_RCVBUFFORCE,
    SO_SNDBUFFORCE,
    SOL_NETLINK,
    STRICT_CHECK,
)
from romana_bus.netlink.messages import HEADER, attributes, messages, with_sequence

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The most bytes of one read: the kernel fills dumps up to 32 KB (NLMSG_GOODSIZE and the reader's buffer).
RECEIVE_SIZE = 1 << 16
#: Values of nlmsg_seq (u32, linux/netlink.h): behind the last one, numbering begins again.
SEQUENCES = 1 << 32
#: How many dumps in a row may be interrupted by changes of others.
DUMPS = 10
#: Size of NLMSG_DONE; and the size below which a part of a dump is searched as a whole.
_DONE, _SHORT = 20, 1 << 14
#: NLMSG_DONE with a text of the kernel (a warning) is longer. So its type and flags are searched for in the
#: last bytes, as many as it takes at most.
_DONE_WITH_TEXT = tuple(
    struct.pack("=HH", NLMSG_DONE, MULTI | ACK_TLVS | more) for more in (0, DUMP_INTERRUPTED)
)
_TEXT = 1 << 10


class Failure(NamedTuple):
    """The kernel refused message number `at` of a batch. `text`: the kernel's explanation, or ''."""

    at: int
    errno: int
    text: str

    def __str__(self) -> str:
        return self.text or os.strerror(self.errno)


class NetlinkError(OSError):
    """One request was refused; `errno` as the kernel gave it."""


class Interrupted(Exception):
    """The dump is inconsistent, because something changed meanwhile (NLM_F_DUMP_INTR). It may be repeated."""


def set_buffers(which: socket.socket, size: int) -> None:
    """Set the socket's buffers to `size` bytes, or as many as the kernel allows."""
    for forced, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            which.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:
            which.setsockopt(socket.SOL_SOCKET, plain, size)


class Socket:
    """A blocking socket for one thread at a time. Raises OSError if the kernel refuses it."""

    def __init__(self, *, buffer: int = 1 << 22, within: float = 10.0, protocol: int = NETLINK_ROUTE) -> None:
        """`buffer`: bytes of the buffers. `within`: seconds until a missing answer raises TimeoutError.
        `protocol`: NETLINK_*."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            set_buffers(self._socket, buffer)
            for option in (CAP_ACK, EXT_ACK, STRICT_CHECK):
                with contextlib.suppress(OSError):  # old kernels do not know them
                    self._socket.setsockopt(SOL_NETLINK, option, 1)
            self._socket.settimeout(within)
            self._socket.bind((0, 0))
        except BaseException:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[0]
        self._next = 1  # 0 is the sequence of all dumps

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def join(self, group: int) -> None:
        """Join a multicast group (RTNLGRP_*, linux/rtnetlink.h)."""
        self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)

    def batch(self, requests: Sequence[bytes]) -> list[Failure]:
        """Send requests; the kernel does them in order, also after one that failed. Returns the failures. At
        most a few hundred at a time: they must fit into the socket's buffer. Raises OSError."""
        first = self.reserve(len(requests))
        numbered = [with_sequence(request, sequence) for sequence, request in enumerate(requests, first)]
        return self.deliver(first, numbered)

    def reserve(self, count: int) -> int:
        """Reserve `count` sequence numbers for requests that are packed with them; returns the first."""
        if self._next + count > SEQUENCES:
            self._next = 1
        first = self._next
        self._next = first + count
        return first

    def deliver(self, first: int, requests: Sequence[bytes]) -> list[Failure]:
        """The same as `batch` for requests that have the sequence numbers from `first` on."""
        if not requests:
            return []
        data = bytearray(b"".join(requests))
        flags_at = len(data) - len(requests[-1]) + 6
        struct.pack_into("=H", data, flags_at, struct.unpack_from("=H", data, flags_at)[0] | ACK)
        self._socket.send(data)
        return self._outcomes(first, len(requests))

    def _outcomes(self, first: int, count: int) -> list[Failure]:
        failures = []
        while True:
            data = self._socket.recv(RECEIVE_SIZE)
            for kind, flags, sequence, start, end in messages(data):
                index = sequence - first
                if kind != NLMSG_ERROR or not 0 <= index < count:
                    continue
                if failure := _failure(data, flags, index, start, end):
                    failures.append(failure)
                if index == count - 1:
                    return failures

    def do(self, request: bytes) -> None:
        """Send one request. Raises NetlinkError if it is refused, OSError."""
        for failure in self.batch([request]):
            raise NetlinkError(failure.errno, str(failure))

    def ask(self, requests: Sequence[bytes]) -> list[bytes | Failure]:
        """Send requests that are answered by one message each; returns each answer, or its failure.
        Raises OSError."""
        first = self.reserve(len(requests))
        answers: dict[int, bytes | Failure] = {}
        if requests:
            numbered = [with_sequence(request, sequence) for sequence, request in enumerate(requests, first)]
            self._socket.send(b"".join(numbered))
        while len(answers) < len(requests):
            data = self._socket.recv(RECEIVE_SIZE)
            for kind, flags, sequence, start, end in messages(data):
                index = sequence - first
                if not 0 <= index < len(requests):
                    continue
                if kind == NLMSG_ERROR:
                    failure = _failure(data, flags, index, start, end)
                    answers[index] = failure or Failure(index, 0, "")
                else:
                    answers[index] = data[start - HEADER.size : end]
        return [answers[index] for index in range(len(requests))]

    def dump(self, request: bytes) -> list[bytes]:
        """The whole dump, as the bytes of each read, including NLMSG_DONE. Raises NetlinkError, OSError, and
        Interrupted if it is inconsistent."""
        sequence = 0  # the same for every dump, so that unchanged dumps are the same bytes
        data = bytearray(request)
        struct.pack_into("=HI", data, 6, struct.unpack_from("=H", data, 6)[0] | DUMP, sequence)
        try:
            self._socket.send(data)
            return self._parts(sequence)
        except Interrupted:
            raise
        except BaseException:
            self._drain()  # the rest would be taken for a part of the next dump
            raise

    def _parts(self, sequence: int) -> list[bytes]:
        parts, interrupted = [], False
        while True:
            part = self._socket.recv(RECEIVE_SIZE)
            kind, flags, answered, start, end = next(messages(part))
            if answered != sequence:
                continue
            interrupted |= bool(flags & DUMP_INTERRUPTED)
            if kind == NLMSG_ERROR:
                failure = _failure(part, flags, 0, start, end)
                if failure:
                    raise NetlinkError(failure.errno, str(failure))
            parts.append(part)
            if _ends(part):
                _check_done(part)
                if interrupted:
                    raise Interrupted
                return parts

    def _drain(self) -> None:
        """Read the rest of a dump: each read makes the kernel continue it, until nothing is left."""
        within = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            while True:
                try:
                    self._socket.recv(RECEIVE_SIZE)
                except BlockingIOError:
                    return
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
        finally:
            self._socket.settimeout(within)


def dump(socket: Socket, request: bytes) -> list[bytes]:
    """A consistent dump, repeated up to DUMPS times. Raises OSError, Interrupted."""
    for _ in range(DUMPS):
        with contextlib.suppress(Interrupted):
            return socket.dump(request)
    raise Interrupted(f"the kernel's routes changed during {DUMPS} dumps")


def _ends(part: bytes) -> bool:
    """Whether NLMSG_DONE is in this part, where it is the last message. A large part is not searched as a
    whole."""
    if len(part) < _SHORT or any(part.find(done, len(part) - _TEXT) >= 0 for done in _DONE_WITH_TEXT):
        return any(kind in (NLMSG_DONE, NLMSG_ERROR) for kind, *_ in messages(part))
    length, kind, *_ = HEADER.unpack_from(part, len(part) - _DONE)
    return bool(length == _DONE and kind == NLMSG_DONE)


def _check_done(part: bytes) -> None:
    """Raises NetlinkError if NLMSG_DONE has a negative code: the dump failed midway."""
    length, kind, *_ = HEADER.unpack_from(part, len(part) - _DONE)
    if length == _DONE and kind == NLMSG_DONE:
        (code,) = struct.unpack_from("=i", part, len(part) - 4)
        if code < 0:
            raise NetlinkError(-code, f"the dump ended midway: {os.strerror(-code)}")


def _failure(data: bytes, flags: int, index: int, start: int, end: int) -> Failure | None:
    (code,) = struct.unpack_from("=i", data, start)
    if not code:
        return None
    text = ""
    if flags & ACK_TLVS:
        # struct nlmsgerr: the code and the request's header (NETLINK_CAP_ACK omits its body)
        quoted = HEADER.size if flags & CAPPED else struct.unpack_from("=I", data, start + 4)[0]
        for kind, first, last in attributes(data, start + 4 + quoted, end):
            if kind == ERROR_TEXT:
                text = data[first:last].rstrip(b"\0").decode(errors="replace")
    return Failure(index, -code, text)
