"""Changes of existing streams, in place: their settings, and what an older version did not have.

On a server with permissions only an operator may change a stream: `romana-bus store set`. The embedded server
is the user's own, so there every process that creates streams also brings them up to date.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from romana_bus.bus import stream_config
from romana_bus.bus.api import BusError, Refused
from romana_bus.bus.jetstream.requests import until_answered
from romana_bus.bus.store_size import shown

if TYPE_CHECKING:
    from romana_bus.bus.jetstream.messages import Streams
    from romana_bus.bus.stream_config import Config, Layout

log = structlog.get_logger(__name__)

#: Messages by which a table may be behind its log when the log is made smaller: what the log drops before its
#: table has read it, the table never has.
BEHIND = 1000
#: Fields of which less deletes messages; 0 and -1 are no limit.
_LIMITS = ("max_age", "max_bytes", "duplicate_window")
#: Fields of which more may be refused for lack of room.
_RESERVED = (*_LIMITS, "num_replicas")


class Change(NamedTuple):
    """One field of one stream, before and after."""

    stream: str
    field: str
    before: Any
    after: Any

    @property
    def deletes(self) -> bool:
        """Whether it deletes messages, or may."""
        return self.field in _LIMITS and self.after > 0 and not 0 < (self.before or 0) <= self.after

    @property
    def reverse(self) -> Change:
        return self._replace(before=self.after, after=self.before)


def no_room(wanted: Config, error: BusError) -> str:
    """The text for a server that has no room for a new stream."""
    size = f", which may have {shown(limit)}" if (limit := wanted.get("max_bytes", -1)) > 0 else ""
    return f"no room for stream {wanted['name']}{size}: {error}. A new log takes --store-size SIZE"


async def at_start(store: Streams, stream: str, echoed: Config, older: Config) -> Config:
    """Bring a stream up to date if this process may, else log what is missing; returns its configuration."""
    fields = ", ".join(sorted(older))
    if store.updates:
        try:
            fitting = await _without_loss(store, stream, older)
            if not fitting:
                return echoed
            fields = ", ".join(sorted(fitting))
            changed = await change(store, stream, fitting)
        except BusError as error:
            log.warning(
                "a stream could not be brought up to date", stream=stream, fields=fields, why=str(error)
            )
            return echoed
        log.info("a stream was brought up to date", stream=stream, fields=fields)
        return changed
    if store.creates:  # thousands of agents need not say it
        log.warning(
            "a stream is older than this version, and works without what it lacks: an operator should run "
            "`romana-bus store set`", stream=stream, fields=fields,
        )  # fmt: skip
    return echoed


async def _without_loss(store: Streams, stream: str, older: Config) -> Config:
    """The fields without a limit that would delete messages: only `store set` may do that. Raises
    BusError."""
    limit, holds = older.get("max_bytes"), (await store.info(stream)).state.bytes
    if limit is None or holds <= limit:
        return older
    log.warning(
        "a log holds more than its part of the store, and gets no limit: `romana-bus store set --size` gives "
        "it one", stream=stream, holds=shown(holds), part=shown(limit),
    )  # fmt: skip
    return {field: value for field, value in older.items() if field != "max_bytes"}


async def change(store: Streams, stream: str, fields: Config) -> Config:
    """Set fields of a stream, and keep all others; returns its configuration. Raises BusError."""
    echoed = (await until_answered(lambda: store.info(stream))).config
    updated = await until_answered(lambda: store.api(f"STREAM.UPDATE.{stream}", echoed | fields))
    return store.read_info(updated).config


async def apply(store: Streams, layout: Layout, roles: tuple[str, ...]) -> list[Change]:
    """Give all streams the settings of `layout`, and what they lack of this version; returns what was
    changed. Without a budget, limits of logs stay. Raises Refused before anything is changed if a table is
    too far behind. Raises BusError; if a stream cannot be changed for lack of room, all are as before."""
    for role in roles:
        await _refuse_lag(store, role)
    wanted = [
        config(layout, role, "")
        for role in roles
        for config in (stream_config.log_config, stream_config.table_config)
    ]
    wanted.append(stream_config.lease_config(layout, 2.0))
    changes = [change for config in wanted for change in await _differences(store, config)]
    # What deletes messages comes last: all that the server may refuse has succeeded by then.
    last = [change for change in changes if change.deletes]
    first = [change for change in changes if not change.deletes]
    try:
        await _carry_out(store, first)
    except BusError:
        with contextlib.suppress(BusError):
            await _carry_out(store, [change.reverse for change in first if change.field in _RESERVED])
        raise
    await _carry_out(store, last)
    return changes


async def _refuse_lag(store: Streams, role: str) -> None:
    tails = (
        await until_answered(lambda: store.tail(role)),
        await until_answered(lambda: store.stream_tail(store.layout.table(role))),
    )
    if (behind := tails[0].last - tails[1].last) > BEHIND:
        raise Refused(
            f"the table of {role} has not read {behind:,} messages yet, and would lose those that a smaller "
            "log drops: nothing was changed, try again"
        )


async def _differences(store: Streams, wanted: Config) -> list[Change]:
    stream = wanted["name"]
    echoed = (await until_answered(lambda: store.info(stream))).config
    fields = stream_config.settings(wanted) | stream_config.outdated(wanted, echoed)
    return [
        Change(stream, field, echoed.get(field), value)
        for field, value in fields.items()
        if echoed.get(field) != value
    ]


async def _carry_out(store: Streams, changes: list[Change]) -> None:
    """One update for each stream. Raises BusError."""
    streams: dict[str, Config] = {}
    for made in changes:
        streams.setdefault(made.stream, {})[made.field] = made.after
    for stream, fields in streams.items():
        await change(store, stream, fields)
