"""Keeps the router's static routes in line with the log: each zone's pod prefixes, via its running nodes.

Reads the placements of hosts (IPAM). Writes routes into the router's namespace, and the prefixes into
`prefixes.json`, for `lab node kill` and for people. When the topology changes, the routes change at once.
While the log is unreachable, all routes stay.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from romana_bus.bus.api import BusError
from romana_bus.errors import Failed
from romana_bus.events import IPAM, HostPlaced, codec
from romana_bus.lab.cluster import fabric
from romana_bus.lab.cluster.block_log import log_of
from romana_bus.lab.machine import netns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.bus.api import Message, Store
    from romana_bus.lab.machine.directory import Lab
    from romana_bus.lab.spec import Zone

log = structlog.get_logger(__name__)

_PLACES = "ipam.map.host.>"
_AGAIN = 0.5

Prefixes = dict[str, tuple[str, ...]]


async def keep_routes(lab: Lab) -> None:
    """Keep the router's routes up to date, until cancelled."""
    while True:
        try:
            async with await log_of(lab) as store:
                await _follow(lab, store)
        except (BusError, Failed) as error:
            log.warning("the router's routes stay as they are", why=str(error))
        await asyncio.sleep(_AGAIN)


async def _follow(lab: Lab, store: Store) -> None:
    """Fold placements and set the routes after each change, until cancelled. Raises BusError, Failed."""
    of_node: Prefixes = {}
    table = store.table(IPAM, _PLACES)
    async for messages in table:
        _fold(of_node, messages)
    wake = asyncio.Event()
    reading = store.follow(IPAM, _PLACES, table.reached, wake, "lab-router")
    try:
        while True:
            route_all(lab, of_node)
            await wake.wait()
            wake.clear()
            _fold(of_node, reading.take())
    finally:
        await reading.close()


def _fold(of_node: Prefixes, messages: Iterable[Message]) -> None:
    for message in messages:
        event = codec.decode(message.body)
        if isinstance(event, HostPlaced):
            of_node[event.node] = tuple(placement.prefix for placement in event.placements)


def route_all(lab: Lab, of_node: Prefixes) -> None:
    """Set the routes of all zones. A node that lost its placement keeps its prefix until another node of its
    zone is placed. Raises Failed."""
    before = lab.prefixes()
    now = {
        zone.name: tuple(
            dict.fromkeys(prefix for node in zone.nodes for prefix in of_node.get(node.name, ()))
        )
        for zone in lab.spec.zone_list
    }
    if now == before:
        return
    gone = {prefix for prefixes in before.values() for prefix in prefixes}
    gone -= {prefix for prefixes in now.values() for prefix in prefixes}
    fabric.unroute(lab.spec, sorted(gone))
    lab.keep_prefixes(now)
    for zone in lab.spec.zone_list:
        route_zone(lab, zone)


def route_zone(lab: Lab, zone: Zone) -> None:
    """Route a zone's prefixes via its nodes that are switched on. May be repeated. Raises Failed."""
    alive = [node.name for node in zone.nodes if netns.exists(lab.spec.namespace(node.name))]
    fabric.route_zone(lab.spec, zone, lab.prefixes().get(zone.name, ()), alive)
