"""When the store gets full: who has to know it, from 80 % on. Pure.

What is nearly full is no error: a log at its limit drops its oldest messages and goes on. So these are
warnings, beside the problems that make a process unready.
"""

from __future__ import annotations

from typing import NamedTuple

from romana_bus.bus.store_size import budget_from, log_bytes, shown, tables_bytes
from romana_bus.events import STREAM, compactor

#: The share of its room from which on something is nearly full.
FULL = 0.8
#: Replaced messages in a table that are no reason to worry: some seconds of a large cluster.
REPLACED = 50_000
#: A window that is shorter by so little is as long as asked for: the server drops messages in steps.
TOLERANCE = 0.98
DAY, HOUR = 86_400.0, 3600.0


class StreamUse(NamedTuple):
    """What a stream holds. `role`; `table`: whether it is the table, else the log. `limit`: bytes, 0 for
    none. `first`, `last`: sequences; `oldest`, `newest`: their times, µs, 0 for an empty stream. `history`:
    seconds that a log is to keep. `subjects`: how many have a message in it."""

    role: str
    table: bool
    name: str
    messages: int
    bytes: int
    limit: int
    first: int
    last: int
    oldest: int
    newest: int
    history: float
    replicas: int
    consumers: int
    subjects: int = 0

    @property
    def share(self) -> float:
        """The used part of its limit; 0 without one."""
        return self.bytes / self.limit if self.limit else 0.0

    def window(self, now: int) -> float:
        """Seconds that it reaches back. `now`: µs."""
        return max(0, now - self.oldest) / 1e6 if self.oldest else 0.0


class Room(NamedTuple):
    """Storage that is shared: `what` it is, the used bytes of it, and how many there are."""

    what: str
    used: int
    size: int

    @property
    def share(self) -> float:
        return self.used / self.size if self.size else 0.0


class StoreUse(NamedTuple):
    """What the store holds. `rooms`: the storages that limit it, those that are known."""

    streams: tuple[StreamUse, ...]
    rooms: tuple[Room, ...] = ()

    @property
    def budget(self) -> int:
        """0 if a log has no limit."""
        return budget_from({stream.role: stream.limit for stream in self.streams if not stream.table})

    @property
    def all_rooms(self) -> tuple[Room, ...]:
        """The budget's parts too."""
        if not self.budget:
            return self.rooms
        tables = sum(stream.bytes for stream in self.streams if stream.table)
        whole = sum(stream.bytes for stream in self.streams)
        return (
            Room("the tables' part of the store", tables, tables_bytes(self.budget)),
            Room("the store (--store-size)", whole, self.budget),
            *self.rooms,
        )


def share(use: StoreUse, stream: StreamUse) -> float:
    """The used part of a log's limit, or of what a table may have at the same share as its log."""
    if not stream.table or not use.budget:
        return stream.share
    logs = sum(log_bytes(use.budget, other.role) for other in use.streams if not other.table)
    own = tables_bytes(use.budget) * log_bytes(use.budget, stream.role) // max(1, logs)
    return stream.bytes / own if own else 0.0


def alarms(use: StoreUse, now: int) -> list[str]:
    """What is nearly full, and what to do; each in one line. `now`: the log's time, µs."""
    found = [text for stream in use.streams if (text := _short(stream, now) or _uncompacted(stream))]
    return found + [
        f"{room.what}: {room.share:.0%} of {shown(room.size)} used: `romana-bus store set --size` with "
        "more, or make room"
        for room in use.all_rooms
        if room.share >= FULL
    ]


def _short(log: StreamUse, now: int) -> str:
    """What is wrong with a log whose limit cuts its window, or soon will; or ''. At the same rate, a log that
    is full to 80 % will reach back a quarter more than now."""
    if log.table or log.share < FULL:
        return ""
    window = log.window(now)
    if window / log.share >= log.history * TOLERANCE:
        return ""
    keeps = "keeps" if log.first > 1 else "will keep"
    return (
        f"{log.role} {keeps} {_lasting(window / log.share)} instead of {_lasting(log.history)}: it uses "
        f"{log.share:.0%} of its {shown(log.limit)}. `romana-bus store set` with a larger --size, or a "
        "shorter --history"
    )


def _uncompacted(table: StreamUse) -> str:
    """What is wrong with a table of which most is replaced, or ''."""
    replaced = table.messages - table.subjects
    if not table.table or replaced <= max(REPLACED, table.subjects):
        return ""
    return (
        f"the table of {table.role} has {replaced:,} messages that newer ones have replaced: "
        f"`{STREAM[compactor(table.role)].command}` deletes them; does it lead, and may it?"
    )


def _lasting(seconds: float) -> str:
    for unit, size in (("d", DAY), ("h", HOUR), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
