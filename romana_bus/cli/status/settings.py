"""The settings of the NATS server, in `status`: what it needs, what is wrong, what cannot be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.bus.jetstream.usage import configs
from romana_bus.bus.space.server_settings import Facts, verdicts
from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.events import ROLES

if TYPE_CHECKING:
    from romana_bus.bus.jetstream.store import JetStream

_COLOURS = {"ok": "green", "wrong": "red"}


async def settings(store: JetStream, nodes: int) -> list[dict[str, Any]]:
    """Each row of the table of settings, checked. `nodes`: how many the cluster has. Raises BusError."""
    facts = Facts(
        store.wire.info,
        await store.api("INFO"),
        await store.place.varz(),
        await configs(store, ROLES),
        nodes,
    )
    return [
        {
            "setting": verdict.setting.name,
            "needs": verdict.setting.needs,
            "state": verdict.state,
            "what": verdict.text or "",
        }
        for verdict in verdicts(facts)
    ]


def print_settings(rows: list[dict[str, Any]]) -> None:
    table = console.table("setting", "state", "needs")
    for row in rows:
        text = row["what"] or row["needs"]
        table.add_row(row["setting"], Text(row["state"], _COLOURS.get(row["state"], "dim")), text)
    console.section("settings of the NATS server", table)
