"""From the log and the API server: what `status` and `ipam show` say, the operators' orders, the last events;
and all names."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.bus.reading.tail import tail
from romana_bus.cli.common.audits import lister
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.doctor.gather import log as gather
from romana_bus.cli.ipam import capacity
from romana_bus.cli.support.collect.parts import ERRORS
from romana_bus.cli.support.known import add_event
from romana_bus.events import SPEC, STREAMS, codec
from romana_bus.ipam.report import views
from romana_bus.ipam.report.forecast import Forecasts

if TYPE_CHECKING:
    from romana_bus.bus.api import Message
    from romana_bus.cli.doctor.gather.context import Context
    from romana_bus.cli.support.collect.parts import Parts
    from romana_bus.cli.support.names import Names


class Stored(NamedTuple):
    """An event with its place on the log. `event`: may be parked."""

    stream: str
    seq: int
    time: int
    cause: str
    event: Any


async def collect(context: Context, parts: Parts, names: Names, events: int) -> None:
    """`events`: how many of each stream."""

    async def ipam() -> Any:
        state = await context.once("ipam", lambda: ipam_state(context.store))
        return capacity.document(state, Forecasts(views.networks(state), None))

    await parts.document("status.json", lambda: gather.status(context))
    await parts.document("ipam.json", ipam)
    await parts.document("orders.jsonl", lambda: _orders(context))
    for stream in STREAMS:
        last = functools.partial(_last, context, stream.name, events)
        await parts.document(f"events/{stream.name}.jsonl", last)
    for what, add in (("the log", _add_tables), ("the API server", _add_listed)):
        try:
            await add(context, names)
        except ERRORS as error:
            parts.lack(f"names of {what}", error)
    for name in [name for name in parts.documents if name.endswith(".jsonl")]:
        for stored in parts.documents[name]:
            add_event(names, stored.event)


async def _orders(context: Context) -> list[Stored]:
    """What operators have set: topology, settings, ranges."""
    return [_stored(SPEC, message) async for batch in context.store.table(SPEC) for message in batch]


async def _last(context: Context, role: str, count: int) -> list[Stored]:
    return [
        _stored(role, message)
        async for batch in tail(context.store, (role,), count, follow=False)
        for role, message in batch
    ][-count:]


def _stored(role: str, message: Message) -> Stored:
    return Stored(role, message.seq, message.stored, message.cause, codec.decode(message.body))


async def _add_tables(context: Context, names: Names) -> None:
    """All names that the log has."""
    for stream in STREAMS:
        async for batch in context.store.table(stream.name):
            for message in batch:
                add_event(names, codec.decode(message.body))
    server = context.store.wire.info
    names.add("server", str(server.get("server_name", "")))


async def _add_listed(context: Context, names: Names) -> None:
    """All names that the API server has: findings of audits may name what the log lacks."""
    listed = lister(context.api)
    for resource in ("nodes", "pods"):
        facts, _ = await listed(resource)
        for fact in facts:
            add_event(names, fact)
