"""Printing: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from romana_bus.ipam.rooms import Room

#: Columns of a screen below which tables leave out what can be spared.
NARROW = 100
#: Where nobody looks at a screen nothing is folded: lines stay lines for grep.
ENDLESS = 500


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would end the process with exit code 1."""
        raise BrokenPipeError


def _width() -> int | None:
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else ENDLESS


#: No markup: a `[` in a name is a `[`.
console = _Console(highlight=False, markup=False, emoji=False, width=_width())


def as_json(value: Any) -> None:
    """One JSON document on one line. (Counts in an IPv6 network exceed what msgspec writes as JSON.)"""
    sys.stdout.write(json.dumps(msgspec.to_builtins(value), separators=(",", ":")) + "\n")
    sys.stdout.flush()


def section(title: str, *parts: RenderableType) -> None:
    """A title, what belongs to it, and an empty line."""
    console.print(Text(title, style="bold"), *parts, "", sep="\n")


def hint(text: str) -> None:
    """What to do next, where there is nothing to show."""
    console.print(Text(text, style="yellow"))


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """Numbers (`right`) are never folded."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        number = column in right
        made.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=number)
    return made


def leave_screen() -> None:
    """Give the terminal back as it was, where a live view has taken it."""
    if console.is_terminal:
        console.show_cursor()
        console.set_alt_screen(False)


def when(time: int) -> str:
    """Local date and time of µs since the epoch."""
    return f"{datetime.fromtimestamp(time / 1e6):%Y-%m-%d %H:%M:%S}" if time else ""  # noqa: DTZ006


def many(number: int, one: str, more: str = "") -> str:
    """`1 node`, `3 nodes`."""
    return f"{count(number)} {one if number == 1 else more or one + 's'}"


def count(number: int) -> str:
    """1,234; above a million million, as a power of two (an IPv6 prefix)."""
    return f"{number:,}" if number < 10**12 else f"2^{number.bit_length() - 1}"


def use(room: Room) -> str:
    """How much of a prefix is in use, as a bar and in percent."""
    share = (room.size - room.free) / room.size if room.size else 0.0
    filled = min(5, -int(-share * 5 // 1))
    percent = f"{share:.0%}" if share >= 0.01 or not share else "<1%"
    full, empty = "█░" if console.encoding.startswith("utf") else "#."
    return f"{full * filled}{empty * (5 - filled)} {percent:>4}"


def room_columns() -> tuple[str, ...]:
    spared = ("used", "cooling") if console.width < NARROW else ()
    return tuple(name for name in ("use", "used", "cooling", "free", "blocks") if name not in spared)


def room(value: Room) -> tuple[str, ...]:
    """The cells of `room_columns`."""
    return tuple(use(value) if name == "use" else count(getattr(value, name)) for name in room_columns())
