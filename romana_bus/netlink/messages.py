"""Netlink messages as bytes: packs requests, and iterates over answers. `socket.py` sends them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from romana_bus.netlink.constants import NESTED, REQUEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")
_SEQUENCE = struct.Struct("=I")


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded (struct nlattr)."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length & 3)


def number(kind: int, value: int) -> bytes:
    """A u32 attribute."""
    return struct.pack("=HHI", 8, kind, value)


def name(kind: int, value: str) -> bytes:
    """A text attribute, with its terminating zero."""
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *inner: bytes) -> bytes:
    """An attribute that contains others."""
    return attribute(kind | NESTED, b"".join(inner))


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A request; its sequence is set when it is sent. `body`: padded to four bytes."""
    return HEADER.pack(HEADER.size + len(body), kind, flags | REQUEST, 0, 0) + body


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields (kind, first byte, end) of each attribute between `start` and `end`."""
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            return
        yield kind & 0x3FFF, start + 4, start + length
        start += (length + 3) & ~3


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Yields (type, flags, sequence, first byte of the body, end) of each message in the bytes of one
    read."""
    offset, size = 0, len(data)
    while offset + HEADER.size <= size:
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            return
        yield kind, flags, sequence, offset + HEADER.size, offset + length
        offset += (length + 3) & ~3


def bodies(parts: Iterable[bytes], wanted: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields (bytes of the read, first byte of the body, end) of each message of one type in a dump."""
    for part in parts:
        for kind, _, _, start, end in messages(part):
            if kind == wanted:
                yield part, start, end


def values(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """Kind -> payload of the attributes between `start` and `end`."""
    return {kind: data[first:last] for kind, first, last in attributes(data, start, end)}


def with_sequence(request: bytes, sequence: int) -> bytes:
    """The request with its sequence number."""
    return request[:8] + _SEQUENCE.pack(sequence) + request[12:]
