"""Parked messages and foreign writes, in `status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.events import LED, NODE, ForeignWriteSeen, MessagesParked, codec

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.runtime.parked import ParkedMessages


async def flaws(store: Store, own: ParkedMessages) -> dict[str, Any]:
    """Parked messages and foreign writes. `own`: the messages that this command parked. Raises BusError."""
    parked = {(entry.role, entry.seq): _parked(*entry) for entry in own.kept}
    count, foreign = 0, []
    for stream in LED:
        report, _ = await _newest(store, f"node.-.parked.{stream.writer}")
        if isinstance(report, MessagesParked):
            count += report.count
            for message in report.parked:
                parked[message.stream, message.seq] = _parked(
                    message.stream, message.seq, message.subject, message.reason
                )
        event, time = await _newest(store, f"node.-.foreign.{stream.name}")
        if isinstance(event, ForeignWriteSeen):
            foreign.append({"stream": event.stream, "seq": event.seq, "subject": event.written, "time": time})
    return {"parked": [entry for _, entry in sorted(parked.items())], "foreign": foreign,
            "count": max(count, len(parked))}  # fmt: skip


def _parked(stream: str, seq: int, subject: str, why: str) -> dict[str, Any]:
    return {"stream": stream, "seq": seq, "subject": subject, "why": why}


async def _newest(store: Store, subject: str) -> tuple[object, int]:
    """The newest report of a subject, and its time (µs)."""
    message = await store.newest(NODE, subject)
    return (codec.decode(message.body), message.stored) if message else (None, 0)


def print_unusable(flaws: dict[str, Any]) -> None:
    """Print parked messages and foreign writes, if there are any."""
    if flaws["parked"]:
        table = console.table("stream", "number", "why", "subject", right=("number",))
        rows, more = console.first(flaws["parked"], False)
        for message in rows:
            table.add_row(
                message["stream"], str(message["seq"]), Text(message["why"], "red"), message["subject"]
            )
        more = max(more, flaws["count"] - len(rows))
        title = "messages that cannot be used: they are skipped"
        console.section(title, table, *console.and_more(more, "--json has more"))
    if flaws["foreign"]:
        table = console.table("stream", "number", "written", "subject", right=("number",))
        for write in flaws["foreign"]:
            table.add_row(
                write["stream"], str(write["seq"]), console.when(write["time"]), Text(write["subject"], "red")
            )
        console.section("foreign writes: messages that others wrote to a stream of its leader", table)
