"""The router's static routes, kept as the log says: each zone's pod prefixes, by way of its living nodes.

Reads the places of hosts (IPAM). Writes routes into the router's namespace, and the prefixes into
`prefixes.json`, for `lab node kill` and for people. A topology that is changed moves them at once. With the
log out of reach everything stays as it is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from romana_bus.bus.api import BusError
from romana_bus.errors import Failed
from romana_bus.events import IPAM, HostPlaced, codec
from romana_bus.lab.cluster import fabric
from romana_bus.lab.cluster.placed import log_of
from romana_bus.lab.machine import netns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.bus.api import Message, Store
    from romana_bus.lab.machine.directory import Place
    from romana_bus.lab.spec import Zone

log = structlog.get_logger(__name__)

_PLACES = "ipam.map.host.>"
_AGAIN = 0.5

Prefixes = dict[str, tuple[str, ...]]


async def keep_routes(place: Place) -> None:
    """Until cancelled."""
    while True:
        try:
            async with await log_of(place) as store:
                await _follow(place, store)
        except (BusError, Failed) as error:
            log.warning("the router's routes stay as they are", why=str(error))
        await asyncio.sleep(_AGAIN)


async def _follow(place: Place, store: Store) -> None:
    """Raises BusError, Failed."""
    of_node: Prefixes = {}
    table = store.table(IPAM, _PLACES)
    async for messages in table:
        _fold(of_node, messages)
    wake = asyncio.Event()
    reading = store.follow(IPAM, _PLACES, table.reached, wake, "lab-router")
    try:
        while True:
            route_all(place, of_node)
            await wake.wait()
            wake.clear()
            _fold(of_node, reading.take())
    finally:
        await reading.close()


def _fold(of_node: Prefixes, messages: Iterable[Message]) -> None:
    for message in messages:
        event = codec.decode(message.body)
        if isinstance(event, HostPlaced):
            of_node[event.node] = tuple(one.prefix for one in event.placements)


def route_all(place: Place, of_node: Prefixes) -> None:
    """A node that has no place now had one: its prefix stays as long as none of the zone has another.
    Raises Failed."""
    before = place.prefixes()
    now = {
        zone.name: tuple(dict.fromkeys(one for node in zone.nodes for one in of_node.get(node.name, ())))
        for zone in place.spec.zone_list
    }
    if now == before:
        return
    gone = {one for prefixes in before.values() for one in prefixes}
    gone -= {one for prefixes in now.values() for one in prefixes}
    fabric.unroute(place.spec, sorted(gone))
    place.keep_prefixes(now)
    for zone in place.spec.zone_list:
        route_zone(place, zone)


def route_zone(place: Place, zone: Zone) -> None:
    """By way of those of its nodes that are on. May be repeated. Raises Failed."""
    alive = [node.name for node in zone.nodes if netns.exists(place.spec.namespace(node.name))]
    fabric.route_zone(place.spec, zone, place.prefixes().get(zone.name, ()), alive)
