"""Addresses and prefixes as integers; text only where they are read or shown.

An address is (width, value): width 32 or 128. A prefix is (width, base, length). `ipaddress` does the same
ten times slower.
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

V4, V6 = 32, 128


class Prefix(NamedTuple):
    """An aligned range of 2**(width-length) addresses from `base`."""

    width: int
    base: int
    length: int

    @property
    def size(self) -> int:
        return 1 << (self.width - self.length)

    @property
    def end(self) -> int:
        """The first address behind the prefix."""
        return self.base + self.size

    def contains(self, other: Prefix) -> bool:
        return self.width == other.width and self.base <= other.base and other.end <= self.end

    def includes(self, width: int, value: int) -> bool:
        """Whether the address is in it."""
        return self.width == width and self.base <= value < self.end

    def overlaps(self, other: Prefix) -> bool:
        return self.width == other.width and self.base < other.end and other.base < self.end

    def __str__(self) -> str:
        return f"{format_address(self.width, self.base)}/{self.length}"


def format_address(width: int, value: int) -> str:
    """Canonical text: dotted quad, or RFC 5952."""
    if width == V4:
        return inet_ntop(AF_INET, value.to_bytes(4, "big"))
    return inet_ntop(AF_INET6, value.to_bytes(16, "big"))


def parse_address(text: str) -> tuple[int, int]:
    """(width, value) of an address. Raises ValueError."""
    try:
        if ":" in text:
            return V6, int.from_bytes(inet_pton(AF_INET6, text), "big")
        return V4, int.from_bytes(inet_pton(AF_INET, text), "big")
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an IP address") from None


def parse_prefix(text: str) -> Prefix:
    """The prefix of a CIDR such as 10.0.0.0/16. Raises ValueError, also where host bits are set."""
    width, value, length = _parts(text)
    prefix = Prefix(width, value, length)
    if value & (prefix.size - 1):
        raise ValueError(f"{text!r} has host bits set: write {covering(text)}")
    return prefix


def covering(text: str) -> Prefix:
    """The prefix that contains an address with a length, host bits cleared: 10.0.0.0/24 for the text
    10.0.0.5/24. IPv4 or IPv6. Raises ValueError if the text is not ADDRESS/LENGTH."""
    width, value, length = _parts(text)
    return Prefix(width, value & -(1 << (width - length)), length)


def _parts(text: str) -> tuple[int, int, int]:
    address, slash, length = text.partition("/")
    width, value = parse_address(address)
    digits = length.isascii() and length.isdecimal() and len(length) <= 3
    if not slash or not digits or str(int(length)) != length or int(length) > width:
        raise ValueError(f"{text!r} is not a CIDR: write it like 10.0.0.0/16")
    return width, value, int(length)
