"""The watched resources, in `status`: synced or not, up to which version, and when the server answered
last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.status.nodes import newest_events
from romana_bus.events import KUBE, ResourceListing, ResourceSynced

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.runtime.parked import ParkedMessages


#: µs after which the last good answer is too old: there is one every minute.
LATE = 180 * 1_000_000


async def resources(store: Store, flaws: ParkedMessages) -> list[dict[str, Any]]:
    """The resources by name. `time`: of the last good answer, or of the start of the listing. Raises
    BusError."""
    found = []
    for time, event in await newest_events(store, KUBE, "kube.synced.>", flaws):
        if isinstance(event, ResourceSynced):
            found.append(
                {"resource": event.resource, "synced": True, "version": event.resource_version,
                 "count": event.count, "doubted": event.doubted, "time": time}
            )  # fmt: skip
        elif isinstance(event, ResourceListing):
            found.append({"resource": event.resource, "synced": False, "why": event.reason, "time": time})
    return sorted(found, key=lambda one: str(one["resource"]))


def print_resources(found: list[dict[str, Any]], now: int) -> None:
    columns = ("resource", "state", "version", "listed", "last good answer")
    table = console.table(*columns, right=("version", "listed"))
    for one in found:
        ago = f"{console.lasting(now - one['time'])} ago"
        late = Text(ago, "red" if now - one["time"] > LATE else "")
        table.add_row(
            one["resource"], _state(one), one.get("version", ""), str(one.get("count", "")), late
        )  # fmt: skip
    console.section("resources of the API server", table if found else "none was ever listed")
    for one in found:
        if one.get("doubted"):
            console.hint(
                f"The API server does not show {one['doubted']:,} of {one['resource']}: they are checked "
                f"again before they count as deleted. `romana-bus "
                f"resync {one['resource']} --believe` believes it at once."
            )


def _state(one: dict[str, Any]) -> Text:
    if not one["synced"]:
        return Text(f"being listed: {one['why']}", "yellow")
    return Text(f"{one['doubted']:,} doubted", "red") if one["doubted"] else Text("synced")
