"""`romana-bus status`: streams, leaders, consumers with their lag, resources, and reports of nodes."""

from __future__ import annotations

from typing import Any

from romana_bus.bus.api import ONCE, BusError, Outgoing, StreamMissing
from romana_bus.bus.auth.permissions import READ
from romana_bus.bus.connect import open_store
from romana_bus.bus.jetstream.lease import holder
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.bus.jetstream.usage import usage
from romana_bus.cli.common import console
from romana_bus.cli.common.options import Output, Store
from romana_bus.cli.common.session import run
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.status.nodes import nodes, print_nodes
from romana_bus.cli.status.parked import flaws, print_unusable
from romana_bus.cli.status.refused import print_refused, refused
from romana_bus.cli.status.resources import print_resources, resources
from romana_bus.cli.status.settings import print_settings, settings
from romana_bus.cli.store.view import document as store_document
from romana_bus.cli.store.view import print_alarms
from romana_bus.events import LED, ROLES, STREAMS, LeaderElected, codec
from romana_bus.runtime.parked import ParkedMessages

HOLDS = {stream.name: stream.holds for stream in STREAMS}
#: The command that starts the writer of a stream.
STARTS = {stream.name: stream.command for stream in LED}


def status(*, store: Store = Store(), output: Output = Output()) -> None:
    """Show the state of the log: streams, leaders, consumers with their lag, synced resources, and nodes.

    A stream holds events; its entities are the current state. Lag is the number
    of events that were not read yet. If there are more than 50 nodes, only those
    with trouble are shown; --json has all."""
    run(_status(store, output), output)


async def _status(store: Store, output: Output) -> None:
    async with await open_store(
        store.access, store.layout, "status", ROLES, who=READ, looking=True
    ) as opened:
        now = opened.clock.now()
        document = await status_document(opened, now)
        document["server"]["takes_no_writes"] = await _why_not_written(opened)
    if output.json:
        console.as_json(document)
    else:
        _print(document, now)


async def status_document(store: JetStream, now: int) -> dict[str, Any]:
    """The state of the log as JSON; nothing is written. `now`: µs. Raises BusError."""
    own = ParkedMessages("status")
    document: dict[str, Any] = {
        "server": await _server(store),
        "streams": [await _stream(store, role) for role in ROLES],
        "leaders": [await _leader(store, role) for role in STARTS],
        "consumers": [consumer for role in ROLES for consumer in await _consumers(store, role)],
        "resources": await resources(store, own),
        "nodes": await nodes(store, now, own),
    }
    document["refused"] = await refused(store)
    document["flaws"] = await flaws(store, own)
    document["settings"] = await settings(store, len(document["nodes"]))
    document["store"] = store_document(await usage(store, ROLES), now)
    return document


async def _server(store: JetStream) -> dict[str, Any]:
    info = await store.api("INFO")
    return {
        "version": store.wire.info.get("version", ""),
        "name": store.wire.info.get("server_name", ""),
        "cluster": store.cluster,
        "api_level": info["api"].get("level", 0),
        "stored_bytes": info["storage"],
    }


async def _why_not_written(store: JetStream) -> str:
    """Why NATS stores nothing, or ''. Tested with a message that expires (a lease that no process uses)."""
    try:
        await store.put(store.layout.lease, Outgoing("lease.status", b"status"))
    except BusError as error:
        return str(error)
    return ""


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
        "since": newest.stored if newest and named else 0,
    }


async def _consumers(store: JetStream, role: str) -> list[dict[str, Any]]:
    """The consumers that follow a stream now."""
    try:
        listed = await store.api(f"CONSUMER.LIST.{store.layout.stream(role)}", {"offset": 0})
    except StreamMissing:
        return []
    return [
        {
            "stream": role,
            "consumer": consumer["name"],
            "filter": consumer["config"].get("filter_subject", "").removeprefix(store.layout.prefix),
            "at": consumer["delivered"]["stream_seq"],
            "lag": consumer["num_pending"],
            "waiting": consumer["num_waiting"],
        }
        for consumer in listed.get("consumers") or []
        if not consumer["name"].startswith(ONCE)
    ]


def _print(document: dict[str, Any], now: int) -> None:
    server = document["server"]
    stored = f"{server['stored_bytes'] / 1e6:,.1f} MB stored"
    console.section(f"cluster {server['cluster']}  NATS {server['version']}, {stored}")
    if why := server["takes_no_writes"]:
        console.hint(f"NATS stores nothing ({why}): if its disk is full, make room and restart it.")
    print_alarms(document["store"]["alarms"])
    _print_streams(document["streams"])
    _print_leaders(document["leaders"])
    _print_consumers(document["consumers"])
    print_resources(document["resources"], now)
    print_nodes(document["nodes"])
    print_settings(document["settings"])
    print_unusable(document["flaws"])
    print_refused(document["refused"])


def _print_streams(streams: list[dict[str, Any]]) -> None:
    numbers = ("first", "last", "entities", "table lag", "history")
    table = console.table("stream", *numbers, "holds", right=numbers)
    for stream in streams:
        days = f"{stream['history_days']:g} d"
        counts = (console.count(stream[field]) for field in ("first", "last", "entities", "table_lag"))
        table.add_row(stream["stream"], *counts, days, HOLDS[stream["stream"]])
    console.section("streams", table)


def _print_leaders(leaders: list[dict[str, Any]]) -> None:
    table = console.table("stream", "led by", "term", "last elected", "at", right=("term",))
    for leader in leaders:
        held = Text(leader["lease"]) if leader["lease"] else Text("no leader", "yellow")
        since = console.when(leader["since"])
        table.add_row(leader["stream"], held, str(leader["term"]), leader["elected"], since)
    console.section("leaders", table)
    for leader in leaders:
        if not leader["lease"]:
            start = STARTS[leader["stream"]]
            console.hint(f"{leader['stream']} has no leader: start `romana-bus up` or `romana-bus {start}`.")
    if not all(leader["lease"] for leader in leaders):
        console.console.print()


def _print_consumers(consumers: list[dict[str, Any]]) -> None:
    following = [consumer for consumer in consumers if consumer["waiting"] or consumer["lag"]]
    table = console.table("consumer", "stream", "filter", "at", "lag", right=("at", "lag"))
    for consumer in following:
        name = consumer["consumer"].rsplit("-", 1)[0]
        position, lag = console.count(consumer["at"]), console.count(consumer["lag"])
        table.add_row(name, consumer["stream"], consumer["filter"], position, lag)
    console.section("consumers", table if following else "no consumer follows the log now")
