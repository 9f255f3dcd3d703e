"""How the store is shown, as JSON and as tables; `status` shows a part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.bus.space.alarms import FULL, alarms, share
from romana_bus.bus.store_size import shown
from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text

if TYPE_CHECKING:
    from romana_bus.bus.space.alarms import StoreUse, StreamUse


def document(use: StoreUse, now: int) -> dict[str, Any]:
    """The store as JSON. `now`: µs; `window`: seconds that a log reaches back."""
    streams = [
        stream._asdict() | {"share": share(use, stream), "window": stream.window(now)}
        for stream in use.streams
    ]
    return {
        "budget": use.budget,
        "streams": streams,
        "rooms": [room._asdict() | {"share": room.share} for room in use.all_rooms],
        "alarms": alarms(use, now),
    }


def print_store(use: StoreUse, now: int) -> None:
    numbers = ("messages", "bytes", "limit", "used", "consumers")
    table = console.table("stream", *numbers, "oldest", "newest", "reaches back", "asked", right=numbers)
    for stream in use.streams:
        table.add_row(*_row(use, stream, now))
    budget = shown(use.budget) if use.budget else "no limit"
    console.section(f"store: {budget}", table)
    rooms = console.table("storage", "used", "of", "share", right=("used", "of", "share"))
    for room in use.all_rooms:
        rooms.add_row(room.what, shown(room.used), shown(room.size), _percent(room.share))
    if use.all_rooms:
        console.section("storage", rooms)
    print_alarms(alarms(use, now))


def print_alarms(texts: list[str]) -> None:
    """Print what is nearly full, if anything is."""
    if texts:
        console.section("nearly full", *(Text(text, "yellow") for text in texts))


def _row(use: StoreUse, stream: StreamUse, now: int) -> tuple[str | Text, ...]:
    window = console.lasting(int(stream.window(now) * 1e6)) if stream.messages else ""
    return (
        f"  its table, {stream.role}" if stream.table else stream.role,
        console.count(stream.messages),
        shown(stream.bytes),
        shown(stream.limit) if stream.limit else "",
        _percent(share(use, stream)) if use.budget else "",
        console.count(stream.consumers),
        console.when(stream.oldest),
        console.when(stream.newest),
        "" if stream.table else window,
        "" if stream.table else console.lasting(int(stream.history * 1e6)),
    )


def _percent(share: float) -> Text:
    return Text(console.percent(share * 100), "yellow" if share >= FULL else "")
