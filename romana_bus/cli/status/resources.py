"""The watched resources, in `status`: whether they are synced, up to which version, and the time of the API
server's last answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.status.nodes import newest_events
from romana_bus.events import KUBE, ResourceListing, ResourceSynced
from romana_bus.events.base import SECOND

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.runtime.parked import ParkedMessages


#: µs after which the last good answer is too old: there is one every minute.
LATE = 180 * SECOND


async def resources(store: Store, flaws: ParkedMessages) -> list[dict[str, Any]]:
    """The resources by name. `time`: of the last good answer, or of the start of the listing. Raises
    BusError."""
    listed = []
    for time, event in await newest_events(store, KUBE, "kube.synced.>", flaws):
        if isinstance(event, ResourceSynced):
            listed.append(
                {"resource": event.resource, "synced": True, "version": event.resource_version,
                 "count": event.count, "doubted": event.doubted, "time": time}
            )  # fmt: skip
        elif isinstance(event, ResourceListing):
            listed.append({"resource": event.resource, "synced": False, "why": event.reason, "time": time})
    return sorted(listed, key=lambda resource: str(resource["resource"]))


def print_resources(resources: list[dict[str, Any]], now: int) -> None:
    columns = ("resource", "state", "version", "listed", "last good answer")
    table = console.table(*columns, right=("version", "listed"))
    for resource in resources:
        age = now - resource["time"]
        ago = Text(f"{console.lasting(age)} ago", "red" if age > LATE else "")
        version, count = resource.get("version", ""), str(resource.get("count", ""))
        table.add_row(resource["resource"], _state(resource), version, count, ago)
    console.section("resources of the API server", table if resources else "no resource was listed yet")
    for resource in resources:
        if resource.get("doubted"):
            console.hint(
                f"The API server does not show {resource['doubted']:,} of {resource['resource']}: they are "
                f"checked again before they count as deleted. `romana-bus "
                f"resync {resource['resource']} --believe` accepts it at once."
            )


def _state(resource: dict[str, Any]) -> Text:
    if not resource["synced"]:
        return Text(f"being listed: {resource['why']}", "yellow")
    return Text(f"{resource['doubted']:,} doubted", "red") if resource["doubted"] else Text("synced")
