"""`romana-bus store`: shows the store, and changes the settings of existing streams in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from romana_bus.bus.api import BusError
from romana_bus.bus.auth.permissions import OPERATE, READ
from romana_bus.bus.connect import open_store
from romana_bus.bus.jetstream import upgrade
from romana_bus.bus.jetstream.requests import until_answered
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.bus.jetstream.upgrade import Change
from romana_bus.bus.jetstream.usage import storage, usage
from romana_bus.bus.space.alarms import alarms
from romana_bus.bus.store_size import Size, budget_for, budget_of, shown
from romana_bus.bus.stream_config import NANOSECONDS, Layout
from romana_bus.cli.common import console
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.options import Connection, Output, check_history, check_replicas, size_of
from romana_bus.cli.common.session import run
from romana_bus.cli.store.view import document, print_store
from romana_bus.errors import BadInput, Failed
from romana_bus.events import ROLES

if TYPE_CHECKING:
    from romana_bus.bus.space.alarms import StoreUse

app = App(name="store", group_parameters=OPTIONS)


@app.command(sort_key=1)
def show(*, store: Connection = Connection(), output: Output = Output()) -> None:
    """Show each stream: messages, bytes and their limit, the history that it really has, and consumers.

    Below, what is nearly full.
    """
    run(_show(store, output), output)


async def _show(store: Connection, output: Output) -> None:
    async with await open_store(
        store.access, store.layout, "store show", ROLES, who=READ, looking=True
    ) as opened:
        use, now = await usage(opened, ROLES), opened.clock.now()
    if output.json:
        console.as_json(document(use, now))
    else:
        print_store(use, now)


@app.command(name="set", sort_key=2)
def set_(
    *,
    size: str = "",
    history: float | None = None,
    replicas: Annotated[int | None, Parameter(name="--replicas")] = None,
    store: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Change the settings of an existing log, in place, and bring streams of an older version up to date.

    What is not named stays. A smaller size or a shorter history deletes the oldest events at once; the tables
    keep all that lives. On a server with permissions this needs an operator's identity.

    Parameters
    ----------
    size
        Bytes of the log with its tables, such as 20GB or 50%, of each copy.
    history
        Days for which the log keeps events.
    replicas
        Copies: 1, or 3 on a cluster of NATS servers.
    """
    wanted = size_of("--size", size)
    if history is not None:
        check_history("--history", history)
    if replicas is not None:
        check_replicas(replicas)
    run(_set(wanted, history, replicas, store, output), output)


async def _set(
    size: Size, history: float | None, replicas: int | None, store: Connection, output: Output
) -> None:
    # A log whose creation failed halfway for lack of room is completed with the size that fits.
    known = store.layout._replace(size=size) if size.bytes else store.layout
    async with await open_store(store.access, known, "store set", ROLES, who=OPERATE, looking=True) as opened:
        layout = await _layout(opened, size, history, replicas)
        try:
            changes = await upgrade.apply(opened, layout, ROLES)
        except BusError as error:
            raise Failed(f"the streams cannot be changed: {error}") from None
        use, now = await _usage(opened), opened.clock.now()
    if output.json:
        console.as_json([change._asdict() for change in changes])
        return
    _print_changes(changes)
    for text in alarms(use, now):
        console.hint(text)


async def _layout(store: JetStream, size: Size, history: float | None, replicas: int | None) -> Layout:
    """The layout that the streams are to have: what is named, else as it is. Raises BadInput, BusError."""
    use = await _usage(store)
    logs = [stream for stream in use.streams if not stream.table]
    copies = replicas or max(stream.replicas for stream in logs)
    if replicas and replicas > 1 and not store.wire.info.get("cluster"):
        raise BadInput(f"--replicas {replicas}: this NATS server is not one of a cluster: use 1")
    budget = 0  # limits stay
    if size.chosen or not use.budget:
        room = storage(store.place, await store.api("INFO"), await store.place.varz(), copies)
        try:
            budget = budget_of(size, room)
        except ValueError as error:
            raise BadInput(f"--size: {error}") from None
    least = budget_for({stream.role: stream.bytes for stream in logs})
    if 0 < budget < least and not size.chosen:
        enough = shown(least * 1.05).replace(" ", "")
        raise BadInput(
            f"the logs hold more than their parts of {shown(budget)}: give --size {enough} or "
            "more to keep all events, or a smaller one to delete the oldest"
        )
    seconds = history * 86_400 if history is not None else max(stream.history for stream in logs)
    return store.layout._replace(history=seconds, replicas=copies, budget=budget)


async def _usage(store: JetStream) -> StoreUse:
    """Asked again: streams whose copies were just changed may have no leader for a moment. Raises
    BusError."""
    return await until_answered(lambda: usage(store, ROLES))


def _print_changes(changes: list[Change]) -> None:
    if not changes:
        console.console.print("nothing to change: the streams have these settings, and are of this version")
        return
    table = console.table("stream", "setting", "before", "now")
    for change in changes:
        table.add_row(
            change.stream,
            change.field,
            _value(change.field, change.before),
            _value(change.field, change.after),
        )
    console.console.print(table)


def _value(field: str, value: Any) -> str:
    match field, value:
        case "max_bytes", int():
            return shown(value) if value > 0 else "no limit"
        case "max_age" | "duplicate_window", int():
            return console.lasting(value * 1_000_000 // NANOSECONDS)
        case _, dict():
            return " to ".join(str(value[key]) for key in ("src", "dest") if key in value)
        case _, None:
            return "not set"
    return str(value)
