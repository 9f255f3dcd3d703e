"""What the store holds, asked of the server: for `store show`, `status`, and the alarms of a running process.

Reads: each stream's INFO, the account's; the disk of the embedded server; the monitoring port, if named.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from romana_bus.bus import stream_config
from romana_bus.bus.api import Unavailable, micros
from romana_bus.bus.space.alarms import Room, StoreUse, StreamUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romana_bus.bus.jetstream.messages import Streams
    from romana_bus.bus.space.place import Place


def storage(place: Place, account: dict[str, Any], varz: dict[str, Any] | None, replicas: int) -> int:
    """The bytes that the server may store of each copy; 0 if that is not known. `account`: $JS.API.INFO.
    `varz`: of the monitoring port, None if it is not named."""
    if disk := place.disk(int(account.get("storage", 0))):
        return disk.size * 3 // 4  # the limit of a nats-server that has no max_file_store
    if (limit := _limit(account)) > 0:
        return limit // replicas  # the account counts every copy
    return _server_room(varz).size


async def usage(store: Streams, roles: Sequence[str]) -> StoreUse:
    """What the streams hold, and the storages that limit them. Raises BusError."""
    names = [(role, table) for role in roles for table in (False, True)]
    account, varz, *streams = await asyncio.gather(
        store.api("INFO"), store.place.varz(), *(_stream(store, role, table) for role, table in names)
    )
    stored = int(account.get("storage", 0))
    rooms = [Room("the account's JetStream storage", stored, max(0, _limit(account))), _server_room(varz)]
    if disk := store.place.disk(stored):
        rooms.append(disk)
    return StoreUse(tuple(streams), tuple(room for room in rooms if room.size))


async def configs(store: Streams, roles: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """The configurations of the cluster's streams. Raises BusError."""
    names = [name for role in roles for name in (store.layout.stream(role), store.layout.table(role))]
    return tuple(info.config for info in await asyncio.gather(*(store.info(name) for name in names)))


def _limit(account: dict[str, Any]) -> int:
    return int((account.get("limits") or {}).get("max_storage") or 0)


def _server_room(varz: dict[str, Any] | None) -> Room:
    jetstream = (varz or {}).get("jetstream") or {}
    used = int((jetstream.get("stats") or {}).get("storage") or 0)
    size = int((jetstream.get("config") or {}).get("max_storage") or 0)
    return Room("the NATS server's JetStream storage", used, max(0, size))


async def _stream(store: Streams, role: str, table: bool) -> StreamUse:
    name = store.layout.table(role) if table else store.layout.stream(role)
    answer = await store.api(f"STREAM.INFO.{name}")
    try:
        state, config = answer["state"], answer["config"]
        empty = not state["messages"]
        return StreamUse(
            role=role,
            table=table,
            name=name,
            messages=state["messages"],
            bytes=state["bytes"],
            limit=max(0, config.get("max_bytes", -1)),
            first=state["first_seq"],
            last=state["last_seq"],
            oldest=0 if empty else micros(state["first_ts"]),
            newest=0 if empty else micros(state["last_ts"]),
            history=config.get("max_age", 0) / stream_config.NANOSECONDS,
            replicas=config.get("num_replicas", 1),
            consumers=state.get("consumer_count", 0),
            subjects=state.get("num_subjects", 0),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"NATS returned stream information that cannot be read: {error!r}") from None
