"""`romana-bus status`: the streams, who leads, and who lags."""

from __future__ import annotations

from typing import Any

from romana_bus import codec
from romana_bus.bus.api import StreamMissing
from romana_bus.bus.connect import open_store
from romana_bus.bus.jetstream import JetStream
from romana_bus.bus.lease import holder
from romana_bus.cli import show, telling
from romana_bus.cli.options import Output, Store
from romana_bus.cli.session import run
from romana_bus.events import IPAM, KUBE, LeaderElected, ResourceListing, ResourceSynced
from romana_bus.tail import ROLES


def status(*, store: Store = Store(), output: Output = Output()) -> None:
    """Show the streams, the leaders, the consumers and their lag, and what is synced."""
    run(_status(store, output), output)


async def _status(store: Store, output: Output) -> None:
    async with await open_store(store.access, store.layout, "status", ROLES) as opened:
        found = {
            "server": await _server(opened),
            "streams": [await _stream(opened, role) for role in ROLES],
            "leaders": [await _leader(opened, role) for role in (KUBE, IPAM)],
            "consumers": [one for role in ROLES for one in await _consumers(opened, role)],
            "resources": await _resources(opened),
        }
    if output.json:
        show.as_json(found)
    else:
        _print(found)


async def _server(store: JetStream) -> dict[str, Any]:
    info = await store.api("INFO")
    return {
        "version": store.wire.info.get("version", ""),
        "name": store.wire.info.get("server_name", ""),
        "cluster": store.cluster,
        "api_level": info["api"].get("level", 0),
        "stored_bytes": info["storage"],
    }


async def _stream(store: JetStream, role: str) -> dict[str, Any]:
    log = await store.api(f"STREAM.INFO.{store.layout.stream(role)}")
    table = await store.api(f"STREAM.INFO.{store.layout.table(role)}")
    return {
        "stream": role,
        "name": log["config"]["name"],
        "first": log["state"]["first_seq"],
        "last": log["state"]["last_seq"],
        "messages": log["state"]["messages"],
        "bytes": log["state"]["bytes"],
        "entities": table["state"]["messages"],
        "table_lag": log["state"]["last_seq"] - table["state"]["last_seq"],
        "history_days": log["config"]["max_age"] / 86_400e9,
        "replicas": log["config"]["num_replicas"],
        "epoch": log["config"]["metadata"]["romana_epoch"],
    }


async def _leader(store: JetStream, role: str) -> dict[str, Any]:
    newest = await store.newest(role, f"{role.lower()}.leader")
    elected = codec.decode(newest.body) if newest else None
    named = isinstance(elected, LeaderElected)
    return {
        "stream": role,
        "lease": await holder(store, role.lower()),
        "term": elected.term if isinstance(elected, LeaderElected) else 0,
        "elected": elected.holder if isinstance(elected, LeaderElected) else "",
        "since": newest.time if newest and named else 0,
    }


async def _consumers(store: JetStream, role: str) -> list[dict[str, Any]]:
    """Whoever follows the stream now."""
    try:
        listed = await store.api(f"CONSUMER.LIST.{store.layout.stream(role)}", {"offset": 0})
    except StreamMissing:
        return []
    return [
        {
            "stream": role,
            "consumer": one["name"],
            "filter": one["config"].get("filter_subject", "").removeprefix(store.layout.prefix),
            "at": one["delivered"]["stream_seq"],
            "lag": one["num_pending"],
        }
        for one in listed.get("consumers") or []
    ]


async def _resources(store: JetStream) -> list[dict[str, Any]]:
    """What of the API server is on the log, and up to where."""
    found = []
    async for messages in store.table(KUBE, "kube.synced.>"):
        for message in messages:
            event = codec.decode(message.body)
            if isinstance(event, ResourceSynced):
                found.append(
                    {"resource": event.resource, "synced": True, "version": event.resource_version,
                     "count": event.count, "time": message.time}
                )  # fmt: skip
            elif isinstance(event, ResourceListing):
                found.append(
                    {"resource": event.resource, "synced": False, "why": event.reason, "time": message.time}
                )
    return sorted(found, key=lambda one: str(one["resource"]))


def _print(found: dict[str, Any]) -> None:
    server = found["server"]
    show.console.print(f"[bold]cluster {server['cluster']}[/]  NATS {server['version']}\n")
    numbers = ("first", "last", "entities", "table lag", "history")
    streams = show.table("streams", "stream", *numbers, "epoch", right=numbers)
    for one in found["streams"]:
        days = f"{one['history_days']:g} d"
        streams.add_row(
            one["stream"], show.count(one["first"]), show.count(one["last"]), show.count(one["entities"]),
            show.count(one["table_lag"]), days, one["epoch"][:8],
        )  # fmt: skip
    leaders = show.table("leaders", "stream", "held by", "term", "since", right=("term",))
    for one in found["leaders"]:
        held = one["lease"] or "[yellow]nobody[/]"
        leaders.add_row(one["stream"], held, str(one["term"]), telling.clock(one["since"]))
    consumers = show.table("consumers", "consumer", "stream", "filter", "at", "lag", right=("at", "lag"))
    for one in found["consumers"]:
        name = one["consumer"].rsplit("-", 1)[0]
        consumers.add_row(name, one["stream"], one["filter"], show.count(one["at"]), show.count(one["lag"]))
    resources = show.table("resources", "resource", "state", "version", "count", right=("version", "count"))
    for one in found["resources"]:
        state = "synced" if one["synced"] else f"[yellow]listing: {one['why']}[/]"
        resources.add_row(one["resource"], state, one.get("version", ""), str(one.get("count", "")))
    for table in (streams, leaders, consumers, resources):
        if table.row_count:
            show.console.print(table, "")
