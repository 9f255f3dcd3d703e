"""Reads the log: what `status` shows, clocks, and what networks overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.bus import clock
from romana_bus.bus.api import micros
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.doctor import facts
from romana_bus.cli.doctor.gather.api import answers, least
from romana_bus.cli.doctor.gather.context import NotSeen
from romana_bus.cli.status.status import STARTS, status_document
from romana_bus.events import ROLES
from romana_bus.events.base import SECOND
from romana_bus.ipam.change.overlaps import overlaps

if TYPE_CHECKING:
    from romana_bus.cli.doctor.gather.context import Context


async def nats(context: Context) -> facts.Nats:
    """Raises NotSeen if no log was named."""
    if not context.named:
        raise NotSeen(context.no_store)
    if context.no_store:
        return facts.Nats(context.where, context.no_store)
    return facts.Nats(context.where, version=context.store.wire.info.get("version", "?"))


async def status(context: Context) -> dict[str, Any]:
    """The document of `status`, read once. Raises NotSeen, BusError."""
    store = context.store
    document: dict[str, Any] = await context.once("status", lambda: status_document(store, store.clock.now()))
    return document


async def streams(context: Context) -> facts.Streams:
    """Raises NotSeen, BusError."""
    store, document = context.store, await status(context)
    lost = []
    for role in ROLES:
        for name in (store.layout.stream(role), store.layout.table(role)):
            info = await store.info(name)
            if info.cluster and info.cluster.lost:
                lost.append(f"{name}: {info.cluster.lost}")
    lag = {each["stream"]: each["table_lag"] for each in document["streams"]}
    messages = sum(each["messages"] for each in document["streams"])
    return facts.Streams(messages, lag, tuple(lost), tuple(document["store"]["alarms"]))


async def settings(context: Context) -> facts.NatsSettings:
    """Raises NotSeen, BusError."""
    rows = (await status(context))["settings"]
    if not context.wanted.access.servers:
        return facts.NatsSettings({}, {})  # our own server, with our own configuration
    return facts.NatsSettings(
        {row["setting"]: row["what"] for row in rows if row["state"] == "wrong"},
        {row["setting"]: row["needs"] for row in rows if row["state"].endswith("--nats-monitor")},
    )


async def clocks(context: Context) -> facts.Clocks:
    """Raises NotSeen, BusError."""
    store = context.store
    before = clock.wall()
    info = await store.info(store.layout.stream(ROLES[0]))
    server, after = micros(info.ts), clock.wall()
    ahead = least((before - server) / SECOND, (after - server) / SECOND)
    logs = [each for each in (await status(context))["store"]["streams"] if not each["table"]]
    future = {each["role"]: (each["newest"] - clock.wall()) / SECOND + ahead for each in logs}
    api = None
    if not context.no_api:
        times = [answer.ahead for answer in await answers(context) if answer.ahead is not None]
        api = times[0] if times else None
    return facts.Clocks(ahead, api, {role: ahead for role, ahead in future.items() if ahead > 0})


async def writers(context: Context) -> facts.Writers:
    """Raises NotSeen, BusError."""
    document = await status(context)
    unsynced = [
        f"{each['resource']}: "
        + (f"{each['doubted']:,} are doubted" if each["synced"] else f"being listed ({each['why']})")
        for each in document["resources"]
        if not each["synced"] or each["doubted"]
    ]
    return facts.Writers(
        {each["stream"]: STARTS[each["stream"]] for each in document["leaders"] if not each["lease"]},
        tuple(unsynced),
        tuple(
            f"{each['stream']}/{each['seq']}, {each['subject']}: {each['why']}"
            for each in document["flaws"]["parked"]
        ),
        tuple(f"{each['stream']}/{each['seq']}, {each['subject']}" for each in document["flaws"]["foreign"]),
        tuple(
            f"{each['identity']} may not {each['act']} {each['subject']}, {each['count']} times"
            for each in document["refused"]
        ),
    )


async def nodes(context: Context) -> facts.Nodes:
    """Raises NotSeen, BusError."""
    rows = (await status(context))["nodes"]
    reporting = sum(bool(row["reports"]) for row in rows)
    # Where no agent runs at all, that is one finding, not one for each node.
    troubled = [row for row in rows if row["trouble"] and (row["reports"] or reporting)]
    return facts.Nodes(
        len(rows),
        {row["node"]: tuple(row["trouble"]) for row in troubled},
        {row["node"]: row["denied"] for row in rows if row["denied"]},
        reporting,
    )


async def networks(context: Context) -> facts.Networks:
    """Raises NotSeen, BusError."""
    store = context.store
    state = await context.once("ipam", lambda: ipam_state(store))
    known = state.topology.networks
    found = overlaps(state, [network.prefix for network in known], context.wanted.services)
    return facts.Networks({network.name: str(network.prefix) for network in known}, tuple(found))
