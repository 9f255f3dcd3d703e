"""The size of the store: how many bytes each log may have, from one budget. Pure.

A log at its limit drops its oldest messages, so its history gets shorter, and it goes on taking new ones. The
tables have no limit, since their rows are the present: they have a part of the budget, and an alarm.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from romana_bus.events import STREAMS

#: Percent of the budget: of each log, and of all tables together.
SHARES = {stream.name: stream.share for stream in STREAMS}
TABLES = 100 - sum(SHARES.values())
#: The least budget. A table follows its log at some thousand messages a second, so a log has to hold what is
#: written within a minute by those that do not wait for the table (`write.py` does).
LEAST = 512_000_000
#: Without --store-size: percent of the storage, and bytes where the storage is not known.
PERCENT, UNKNOWN = 50.0, 10_000_000_000

_UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40,
    "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}  # fmt: skip
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMGT]?(?:i?B)?|%)", re.IGNORECASE | re.ASCII)


class Size(NamedTuple):
    """What the user wants: `bytes`, or `percent` of the storage; both 0: the default."""

    bytes: int = 0
    percent: float = 0.0

    @property
    def chosen(self) -> bool:
        return bool(self.bytes or self.percent)


def parse_size(text: str) -> Size:
    """`20GB`, `512MiB`, `50%`. Raises ValueError, with what to write."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("write bytes such as 20GB, or a share of the storage such as 50%")
    number = float(match[1])
    if match[2] == "%":
        if not 0 < number <= 100:
            raise ValueError("must be above 0% and at most 100%")
        return Size(percent=number)
    size = int(number * _UNITS[match[2].upper()])
    if size < LEAST:
        raise ValueError(f"the store needs at least {shown(LEAST)}")
    return Size(bytes=size)


def budget_of(size: Size, storage: int) -> int:
    """The bytes of all logs and tables, of each copy. `storage`: the bytes that the server may store; 0:
    unknown. Raises ValueError."""
    if size.bytes:
        if 0 < storage < size.bytes:
            raise ValueError(f"{shown(size.bytes)} is more than NATS can store here, {shown(storage)}")
        return size.bytes
    if size.percent and not storage:
        raise ValueError(
            "the storage of this NATS server is not known: give bytes, or name its monitoring port with "
            "--nats-monitor"
        )
    if 0 < storage < LEAST:
        raise ValueError(f"the store needs at least {shown(LEAST)}, and NATS can store {shown(storage)} here")
    budget = int(storage * (size.percent or PERCENT) / 100) if storage else UNKNOWN
    if size.percent and budget < LEAST:
        raise ValueError(f"{shown(budget)} of {shown(storage)}, and the store needs at least {shown(LEAST)}")
    return max(budget, LEAST)


def log_bytes(budget: int, role: str) -> int:
    """The limit of a log (max_bytes)."""
    return budget * SHARES[role] // 100


def budget_from(limits: dict[str, int]) -> int:
    """The budget that gave these limits (role -> max_bytes); 0 if a log has no limit."""
    if not limits or any(limit <= 0 for limit in limits.values()):
        return 0
    return sum(limits.values()) * 100 // sum(SHARES[role] for role in limits)


def budget_for(sizes: dict[str, int]) -> int:
    """The least budget with which each log keeps the bytes that it holds. `sizes`: role -> bytes."""
    return max(-(-size * 100 // SHARES[role]) for role, size in sizes.items())


def tables_bytes(budget: int) -> int:
    """The part of the budget for all tables."""
    return budget * TABLES // 100


def shown(size: float) -> str:
    """`1.5 GB`, in decimal units."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{int(size)} bytes"
