"""What NATS did not let an identity do, in `status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.events import NODE, PermissionRefused
from romana_bus.runtime.feed import Read, read_once
from romana_bus.runtime.parked import ParkedMessages

if TYPE_CHECKING:
    from romana_bus.bus.api import Store


async def refused(store: Store) -> list[dict[str, Any]]:
    """The refusals of the last hour, by identity: reports stay that long. Raises BusError."""
    newest: dict[str, list[dict[str, Any]]] = {}
    parked = ParkedMessages("status")  # what another part of `status` has counted already
    async for _, messages in read_once(store, (Read(NODE, "node.*.refused.*"),), "status", parked):
        for message in messages:
            event = parked.read(message, NODE)
            if isinstance(event, PermissionRefused):
                common = {"identity": event.consumer, "node": event.node, "time": message.stored}
                newest[message.subject] = [
                    common | {"act": one.act, "subject": one.subject, "count": one.count}
                    for one in event.refused
                ]
    return [row for _, rows in sorted(newest.items()) for row in rows]


def print_refused(rows: list[dict[str, Any]]) -> None:
    """Print the refusals, if there are any."""
    if not rows:
        return
    table = console.table("identity", "may not", "subject", "times", "last report", right=("times",))
    shown, more = console.first(rows, False)
    for row in shown:
        subject, when = Text(row["subject"], "red"), console.when(row["time"])
        table.add_row(row["identity"], row["act"], subject, console.count(row["count"]), when)
    console.section("refused by NATS in the last hour", table, *console.and_more(more, "--json has all"))
