"""What of the API server is on the log, and up to where, in `status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.cli import show
from romana_bus.cli.reports import newest_events
from romana_bus.cli.terminal import Text
from romana_bus.events import KUBE, ResourceListing, ResourceSynced

if TYPE_CHECKING:
    from romana_bus.bus.api import Store


async def resources(store: Store) -> list[dict[str, Any]]:
    """By name. Raises BusError."""
    found = []
    for time, event in await newest_events(store, KUBE, "kube.synced.>"):
        if isinstance(event, ResourceSynced):
            found.append(
                {"resource": event.resource, "synced": True, "version": event.resource_version,
                 "count": event.count, "time": time}
            )  # fmt: skip
        elif isinstance(event, ResourceListing):
            found.append({"resource": event.resource, "synced": False, "why": event.reason, "time": time})
    return sorted(found, key=lambda one: str(one["resource"]))


def print_resources(found: list[dict[str, Any]]) -> None:
    table = show.table("resource", "state", "version", "listed", right=("version", "listed"))
    for one in found:
        state = Text("synced") if one["synced"] else Text(f"being listed: {one['why']}", "yellow")
        table.add_row(one["resource"], state, one.get("version", ""), str(one.get("count", "")))
    show.section("resources of the API server", table if found else "none was ever listed")
