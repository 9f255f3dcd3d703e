"""Printing: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.ipam.rooms import Room

console = Console(highlight=False)


def as_json(value: Any) -> None:
    """One JSON document on one line. (Counts in an IPv6 network exceed what msgspec writes as JSON.)"""
    sys.stdout.write(json.dumps(msgspec.to_builtins(value), separators=(",", ":")) + "\n")
    sys.stdout.flush()


def table(title: str, *columns: str, right: Iterable[str] = ()) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def count(number: int) -> str:
    """1,234; above a million million, as a power of two (an IPv6 prefix)."""
    return f"{number:,}" if number < 10**12 else f"2^{number.bit_length() - 1}"


def use(room: Room) -> str:
    """How much of a prefix is in use, as a bar and in percent."""
    share = (room.size - room.free) / room.size
    filled = min(10, -int(-share * 10 // 1))
    percent = f"{share:.0%}" if share >= 0.01 or not share else "<1%"
    return f"{'█' * filled}{'░' * (10 - filled)} {percent}"


ROOM = ("use", "used", "cooling", "free", "blocks")


def room(value: Room) -> tuple[str, ...]:
    """The cells of ROOM."""
    return (use(value), count(value.used), count(value.cooling), count(value.free), count(value.blocks))
