"""Netlink messages as bytes, and one socket that sends them in batches.

A batch is one system call and one acknowledgement: only the last message asks for one, and the kernel
answers any other message only where that one failed (netlink_rcv_skb in net/netlink/af_netlink.c goes on
behind a message that failed). So a few hundred changes cost one round trip, and every error is still found.

A socket belongs to the network namespace of the thread that made it, for ever.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# linux/netlink.h
NETLINK_ROUTE = 0
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
_DUMP_INTR = 0x10
_CAPPED, _ACK_TLVS = 0x100, 0x200
_ERROR_TEXT = 1  # NLMSGERR_ATTR_MSG
NESTED = 0x8000
SOL_NETLINK = 270
ADD_MEMBERSHIP, _CAP_ACK, _EXT_ACK, _STRICT_CHECK = 1, 10, 11, 12
# asm-generic/socket.h: beyond net.core.rmem_max, for CAP_NET_ADMIN
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")
_SEQUENCE = struct.Struct("=I")
#: What one read takes at most: the kernel fills dumps up to 32 KB (NLMSG_GOODSIZE and the reader's room).
ROOM = 1 << 16
#: How often a dump is begun again that others' changes have made no picture of one moment.
DUMPS = 10
#: A message NLMSG_DONE; and below which size a part of a dump is no full one.
_DONE, _SHORT = 20, 1 << 14
#: Where the kernel has a word to say with it (as a warning), it is longer: so its type and flags are looked
#: for in as many bytes as that takes at most.
_DONE_WITH_TEXT = tuple(struct.pack("=HH", NLMSG_DONE, 0x2 | _ACK_TLVS | more) for more in (0, _DUMP_INTR))
_TEXT = 1 << 10


class Failure(NamedTuple):
    """The message number `at` of a batch was refused. `text`: the kernel's own words, where it has any."""

    at: int
    errno: int
    text: str

    def __str__(self) -> str:
        return self.text or os.strerror(self.errno)


class NetlinkError(OSError):
    """One request was refused; `errno` as the kernel gave it."""


class Interrupted(Exception):
    """What was dumped changed meanwhile (NLM_F_DUMP_INTR): it is no picture of any moment. Ask again."""


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded (struct nlattr)."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length & 3)


def number(kind: int, value: int) -> bytes:
    """An attribute that is a u32."""
    return struct.pack("=HHI", 8, kind, value)


def name(kind: int, value: str) -> bytes:
    """An attribute that is text with its end."""
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *inner: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(inner))


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A request; its sequence is filled in when it is sent. `body`: padded to four bytes."""
    return HEADER.pack(HEADER.size + len(body), kind, flags | REQUEST, 0, 0) + body


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(kind, first byte, end) of each attribute."""
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            return
        yield kind & 0x3FFF, start + 4, start + length
        start += (length + 3) & ~3


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """(type, flags, sequence, first byte of the body, end) of each message in what one read gave."""
    at, size = 0, len(data)
    while at + HEADER.size <= size:
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
        if length < HEADER.size:
            return
        yield kind, flags, sequence, at + HEADER.size, at + length
        at += (length + 3) & ~3


def sized(which: socket.socket, room: int) -> None:
    """Give it that much room, or as much as the kernel allows."""
    for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            which.setsockopt(socket.SOL_SOCKET, forced, room)
        except PermissionError:
            which.setsockopt(socket.SOL_SOCKET, plain, room)


def _numbered(request: bytes, sequence: int) -> bytes:
    return request[:8] + _SEQUENCE.pack(sequence) + request[12:]


class Socket:
    """Blocking; one thread at a time. Raises OSError where the kernel has no netlink for us."""

    def __init__(self, *, room: int = 1 << 22, within: float = 10.0) -> None:
        """`room`: bytes that may wait for us. `within`: seconds after which an answer is no longer
        waited for (TimeoutError)."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        try:
            sized(self._socket, room)
            for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHECK):
                with contextlib.suppress(OSError):  # comforts that old kernels lack
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
        """Hear a multicast group (RTNLGRP_*, linux/rtnetlink.h)."""
        self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)

    def batch(self, requests: Sequence[bytes]) -> list[Failure]:
        """Do all of them, in order, whatever becomes of the others; gives those that failed. Send a few
        hundred at a time: all must fit into the socket's room. Raises OSError."""
        first = self.reserve(len(requests))
        return self.deliver(first, [_numbered(request, at) for at, request in enumerate(requests, first)])

    def reserve(self, count: int) -> int:
        """The first of so many sequence numbers, for requests that are packed with theirs."""
        first = self._next
        self._next = first + count
        return first

    def deliver(self, first: int, requests: Sequence[bytes]) -> list[Failure]:
        """As `batch`, of requests that bear the numbers from `first` on."""
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
            data = self._socket.recv(ROOM)
            for kind, flags, sequence, start, end in messages(data):
                index = sequence - first
                if kind != NLMSG_ERROR or not 0 <= index < count:
                    continue
                if failure := _failure(data, flags, index, start, end):
                    failures.append(failure)
                if index == count - 1:
                    return failures

    def do(self, request: bytes) -> None:
        """One of them. Raises NetlinkError where it is refused."""
        for failure in self.batch([request]):
            raise NetlinkError(failure.errno, str(failure))

    def ask(self, requests: Sequence[bytes]) -> list[bytes | Failure]:
        """For each request that is answered by one message: the whole answer, or why there is none."""
        first = self.reserve(len(requests))
        answers: dict[int, bytes | Failure] = {}
        if requests:
            self._socket.send(b"".join([_numbered(one, at) for at, one in enumerate(requests, first)]))
        while len(answers) < len(requests):
            data_in = self._socket.recv(ROOM)
            for kind, flags, sequence, start, end in messages(data_in):
                index = sequence - first
                if not 0 <= index < len(requests):
                    continue
                if kind == NLMSG_ERROR:
                    failure = _failure(data_in, flags, index, start, end)
                    answers[index] = failure or Failure(index, 0, "")
                else:
                    answers[index] = data_in[start - HEADER.size : end]
        return [answers[index] for index in range(len(requests))]

    def dump(self, request: bytes) -> list[bytes]:
        """All that the kernel has to say, as it was read, up to and with its last word (NLMSG_DONE).
        Raises NetlinkError; Interrupted where it is no picture of one moment."""
        sequence = 0  # the same for every dump: what has not changed comes as the same bytes
        data = bytearray(request)
        struct.pack_into("=HI", data, 6, struct.unpack_from("=H", data, 6)[0] | DUMP, sequence)
        try:
            self._socket.send(data)
            return self._parts(sequence)
        except Interrupted:
            raise
        except BaseException:
            self._drain()  # what is left of it would be taken for the next one's
            raise

    def _parts(self, sequence: int) -> list[bytes]:
        parts, interrupted = [], False
        while True:
            part = self._socket.recv(ROOM)
            kind, flags, number_, start, end = next(messages(part))
            if number_ != sequence:
                continue
            interrupted |= bool(flags & _DUMP_INTR)
            if kind == NLMSG_ERROR:
                failure = _failure(part, flags, 0, start, end)
                if failure:
                    raise NetlinkError(failure.errno, str(failure))
            parts.append(part)
            if _ends(part):
                _well(part)
                if interrupted:
                    raise Interrupted
                return parts

    def _drain(self) -> None:
        """The kernel goes on with a dump whenever something is read, and tells at once when that was all."""
        within = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            while True:
                try:
                    self._socket.recv(ROOM)
                except BlockingIOError:
                    return
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
        finally:
            self._socket.settimeout(within)


def dump(socket: Socket, request: bytes) -> list[bytes]:
    """As the socket's, of one moment, however often it takes. Raises OSError, Interrupted."""
    for _ in range(DUMPS):
        with contextlib.suppress(Interrupted):
            return socket.dump(request)
    raise Interrupted(f"the kernel's routes changed during {DUMPS} dumps")


def _ends(part: bytes) -> bool:
    """Whether the dump's last word is in it. It stands last; in a part that is full, it is not walked to."""
    if len(part) < _SHORT or any(part.find(done, len(part) - _TEXT) >= 0 for done in _DONE_WITH_TEXT):
        return any(kind in (NLMSG_DONE, NLMSG_ERROR) for kind, *_ in messages(part))
    length, kind, *_ = HEADER.unpack_from(part, len(part) - _DONE)
    return bool(length == _DONE and kind == NLMSG_DONE)


def _well(part: bytes) -> None:
    """The last word has a code, negative where the dump failed midway. Raises NetlinkError."""
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
    if flags & _ACK_TLVS:
        # struct nlmsgerr: the code and the header it answers (NETLINK_CAP_ACK leaves out the rest)
        quoted = HEADER.size if flags & _CAPPED else struct.unpack_from("=I", data, start + 4)[0]
        for kind, first, last in attributes(data, start + 4 + quoted, end):
            if kind == _ERROR_TEXT:
                text = data[first:last].rstrip(b"\0").decode(errors="replace")
    return Failure(index, -code, text)
