"""What of the log cannot be used, in `status`: what is parked, and what somebody wrote who must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus import codec
from romana_bus.cli import show
from romana_bus.cli.terminal import Text
from romana_bus.events import IPAM, KUBE, NODE, ForeignWriteSeen, MessagesParked

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.flaws import Flaws

#: Who leads a stream, and reports what it cannot use.
LEADERS = {"ipam": IPAM, "watch": KUBE}


async def flaws(store: Store, own: Flaws) -> dict[str, Any]:
    """`own`: what was found by reading for the rest of the view. Raises BusError."""
    parked = {
        (one.role, one.seq): {"stream": one.role, "seq": one.seq, "subject": one.subject, "why": one.reason}
        for one in own.kept
    }
    count, foreign = 0, []
    for consumer, stream in LEADERS.items():
        report = await _newest(store, f"node.-.parked.{consumer}")
        if isinstance(report, MessagesParked):
            count += report.count
            for one in report.parked:
                place = {"stream": one.stream, "seq": one.seq, "subject": one.subject, "why": one.reason}
                parked[one.stream, one.seq] = place
        written = await store.newest(NODE, f"node.-.foreign.{stream}")
        event = codec.decode(written.body) if written else None
        if written and isinstance(event, ForeignWriteSeen):
            foreign.append(
                {"stream": event.stream, "seq": event.seq, "subject": event.written, "time": written.stored}
            )
    return {"parked": [one for _, one in sorted(parked.items())], "foreign": foreign,
            "count": max(count, len(parked))}  # fmt: skip


async def _newest(store: Store, subject: str) -> object:
    found = await store.newest(NODE, subject)
    return codec.decode(found.body) if found else None


def print_flaws(found: dict[str, Any]) -> None:
    """Nothing where all is well."""
    if found["parked"]:
        table = show.table("stream", "number", "why", "subject", right=("number",))
        rows, more = show.first(found["parked"], False)
        for one in rows:
            table.add_row(one["stream"], str(one["seq"]), Text(one["why"], "red"), one["subject"])
        more = max(more, found["count"] - len(rows))
        title = "messages that cannot be used: they are stepped over"
        show.section(title, table, *show.and_more(more, "--json has more"))
    if found["foreign"]:
        table = show.table("stream", "number", "written", "subject", right=("number",))
        for one in found["foreign"]:
            table.add_row(one["stream"], str(one["seq"]), show.when(one["time"]), Text(one["subject"], "red"))
        show.section("written by somebody else, on streams that only their leader may write", table)
