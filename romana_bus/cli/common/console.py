"""Printing: tables for people, JSON for programs."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from math import log2
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from rich.table import Table

from romana_bus.cli.common.terminal import Console, Text, print_json
from romana_bus.events import WHILE_IT_RUNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from romana_bus.ipam.model.usage import Usage

T = TypeVar("T")

#: Columns of a screen below which tables omit less important columns, and from which on they show all.
NARROW, WIDE = 100, 130
#: The most rows of a table for a person, and how to see the others.
ROWS, ALL = 50, "--all shows all, --json too"
#: Columns if stdout is not a terminal: lines are not folded, so that grep works.
ENDLESS = 500


def _width() -> int | None:
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else ENDLESS


console = Console(width=_width())


def as_json(value: Any) -> None:
    """Print one JSON document on one line. (msgspec cannot write the counts of an IPv6 network.)"""
    print_json(msgspec.to_builtins(value))
    sys.stdout.flush()


def section(title: str, *parts: RenderableType) -> None:
    """Print a title, its parts, and an empty line."""
    console.print(Text(title, style="bold"), *parts, "", sep="\n")


def hint(text: str) -> None:
    """Print what to do next."""
    console.print(Text(text, style="yellow"))


def dim(text: str) -> Text:
    return Text(text, "dim")


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table. `right`: columns of numbers, which are never folded."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        number = column in right
        made.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=number)
    return made


def pairs(rows: dict[str, str]) -> Table:
    """A table of names and values, without empty values."""
    made = table("", "")
    made.show_header = False
    for name, value in rows.items():
        if value:
            made.add_row(dim(name), value)
    return made


def leave_screen() -> None:
    """Restore the terminal if a live view uses it."""
    if console.is_terminal:
        console.show_cursor()
        console.set_alt_screen(False)


def when(time: int) -> str:
    """Local date and time of µs since the epoch."""
    if time >= WHILE_IT_RUNS:
        return "the pod is gone"
    return f"{datetime.fromtimestamp(time / 1e6):%Y-%m-%d %H:%M:%S}" if time else ""  # noqa: DTZ006


def lasting(time: int) -> str:
    """A duration in µs as `12 s`, `3 min`, `5 h` or `4 d`: in the largest unit with a count of at least 2."""
    seconds = max(0, time) // 1_000_000
    for size, unit, least in ((86_400, "d", 2), (3600, "h", 2), (60, "min", 2)):
        if seconds >= least * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def many(number: int, singular: str, plural: str = "") -> str:
    """`1 node`, `3 nodes`."""
    return f"{count(number)} {singular if number == 1 else plural or singular + 's'}"


def count(number: int) -> str:
    """`1,234`; from 10**12 on a power of two (as of an IPv6 prefix), with `~` if it is only close to it."""
    if number < 10**12:
        return f"{number:,}"
    return f"{'' if number.bit_count() == 1 else '~'}2^{round(log2(number))}"


def usage_bar(usage: Usage) -> str:
    """How much of a prefix is in use, as a bar and in percent: 100% only if nothing is free."""
    share = (usage.size - usage.free) / usage.size if usage.size else 0.0
    filled = min(5, -int(-share * 5 // 1))
    percent = (
        f"{min(round(share * 100), 100 if usage.free <= 0 else 99)}%" if share >= 0.01 or not share else "<1%"
    )
    full, empty = "█░" if console.encoding.startswith("utf") else "#."
    return f"{full * filled}{empty * (5 - filled)} {percent:>4}"


def usage_columns(beside: int = 0) -> tuple[str, ...]:
    """The usage columns that fit on the screen. `beside`: how many characters wider the rest of this table is
    than that of the table of groups."""
    width = console.width - beside
    if width < NARROW:
        return ("use", "free", "frag")
    omitted = ("reserved",) if width < WIDE else ()
    names = ("use", "used", "cooling", "reserved", "free", "frag", "blocks")
    return tuple(name for name in names if name not in omitted)


def usage_cells(usage: Usage, columns: Iterable[str]) -> tuple[str, ...]:
    """The cells of `usage_columns`."""
    special = {"use": usage_bar(usage), "frag": percent(usage.fragmentation)}
    return tuple(special[name] if name in special else count(getattr(usage, name)) for name in columns)


def percent(share: float) -> str:
    return "<1%" if 0 < share < 1 else f"{share:.0f}%"


def lasts(hours: float | None) -> Text:
    """The hours until a prefix is full; `-` if it is not growing, or nothing is known."""
    if not hours:
        return Text("-") if hours is None else Text("full", "red")
    if hours >= 8760:
        return Text("> 1 y")
    text = f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h" if hours < 1000 else f"{hours / 24:,.0f} d"
    return Text(text, "red" if hours < 4 else "yellow" if hours < 24 else "")


def rate(growth: float | None) -> str:
    """Addresses per hour, with the sign."""
    if not growth:
        return "-" if growth is None else "0/h"
    return f"{growth:+,.0f}/h" if abs(growth) >= 10 else f"{growth:+.1f}/h"


def first(rows: Sequence[T], every: bool) -> tuple[Sequence[T], int]:
    """The rows to show, and how many are left out. `every`: show all."""
    return (rows, 0) if every or len(rows) <= ROWS else (rows[:ROWS], len(rows) - ROWS)


def and_more(number: int, how: str) -> list[Text]:
    """The line below a table that does not show all rows."""
    return [dim(f"and {number:,} more: {how}")] if number else []


def meant(names: Sequence[str]) -> str:
    """A question for an unknown name: `Did you mean ...?`; '' without similar names."""
    return f". Did you mean {', '.join(names[:3])}?" if names else ""
