"""Compares this node's routes with the log, and looks for routes of others inside pods' networks."""

from __future__ import annotations

import asyncio
import contextlib
from socket import if_indextoname
from typing import TYPE_CHECKING

from romana_bus.bus.api import BusError
from romana_bus.cli.doctor import facts
from romana_bus.cli.doctor.gather.context import NotSeen
from romana_bus.cni.link.access import host_socket
from romana_bus.consumers import routes
from romana_bus.events import NODE, NodeNetwork, codec, token
from romana_bus.inet import V4, V6, Prefix, format_address, parse_address
from romana_bus.netlink import links
from romana_bus.netlink.constants import BLOCK_ROUTES, POD_ROUTES
from romana_bus.netlink.foreign import read
from romana_bus.netlink.node_network import Reached
from romana_bus.netlink.socket import dump
from romana_bus.routing import State, evolve, refused, standing
from romana_bus.runtime.feed import read_once
from romana_bus.runtime.parked import ParkedMessages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.cli.doctor.gather.context import Context
    from romana_bus.routing import Delta, Kernel


async def delta(context: Context) -> facts.RouteDelta:
    """What two looks have found: the agent may just be applying a change. Raises NotSeen, BusError, OSError,
    Interrupted."""
    first = await _first_look(context)
    if not (first.missing or first.surplus or first.changed):
        return first
    await asyncio.sleep(context.wanted.pause)
    second = await _look(context)

    def both(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(text for text in other if text in one)

    return second._replace(
        missing=both(first.missing, second.missing),
        surplus=both(first.surplus, second.surplus),
        changed=both(first.changed, second.changed),
    )


async def _first_look(context: Context) -> facts.RouteDelta:
    looked: facts.RouteDelta = await context.once("routes", lambda: _look(context))
    return looked


async def _look(context: Context) -> facts.RouteDelta:
    node, reached = context.wanted.node, await _reached(context)
    async with routes.opened(node, lambda: reached) as ours:
        reconciler = ours.reconciler()
        state = reconciler.initial()
        await _fold(context, state)
        kernel: Kernel = await reconciler.observe(state, True)
        planned: Delta = reconciler.plan(state, kernel)
    return facts.RouteDelta(
        node,
        state.listed,
        tuple(_missing(planned, state)),
        tuple(_surplus(planned)),
        tuple(_changed(planned)),
        {str(prefix): why for prefix, why in refused(state).items()},
        len(kernel.routes),
        standing(state, kernel)["blocks by default route"],
    )


async def _fold(context: Context, state: State) -> None:
    """Fold the map of hosts and blocks. Raises NotSeen, BusError."""
    parked = ParkedMessages("doctor")
    async for role, messages in read_once(context.store, routes.READS, "doctor", parked):
        for message in messages:
            if event := parked.read(message, role):
                evolve(state, event, message.seq)


async def _reached(context: Context) -> Reached:
    """Where the log is, as seen from here, and what else the agent never cuts off, as it reported."""
    now = context.reach.now()
    with contextlib.suppress(BusError):
        newest = await context.store.newest(NODE, f"node.{token(context.wanted.node)}.network")
        report = codec.decode(newest.body) if newest else None
        if isinstance(report, NodeNetwork):
            return now._replace(addresses=now.addresses.union(map(parse_address, report.reached)))
    return now


def _missing(planned: Delta, state: State) -> Iterator[str]:
    for prefix, number in planned.added:
        via = state.vias.get(number)
        yield f"missing: {prefix}" + (f" via {format_address(via[0], via[1])}" if via else "")
    yield from (f"missing: unreachable {prefix}" for prefix in planned.unreachable)
    if not planned.added:
        yield from (f"missing: nexthop {number}" for number, _ in planned.created)


def _surplus(planned: Delta) -> Iterator[str]:
    yield from (f"too many: {prefix}" for prefix, _ in planned.removed)
    yield from (f"too many: unreachable {prefix}" for prefix in planned.reachable)
    yield from (f"too many: {prefix} metric {metric}" for prefix, _, metric in planned.misplaced)
    if not planned.removed:
        yield from (f"too many: nexthop {number}" for number in planned.deleted)


def _changed(planned: Delta) -> Iterator[str]:
    yield from (f"different: {prefix} has another nexthop" for prefix, _, _ in planned.moved)
    yield from (
        f"different: nexthop {number}, which should be {format_address(via[0], via[1])}"
        for number, via in planned.changed
    )


# --- routes of others -----------------------------------------------------------------------------------


async def foreign(context: Context) -> facts.ForeignRoutes:
    """Raises NotSeen, OSError, Interrupted."""
    networks, own = await _groups(context)
    found = [] if not networks else [route for route in _others() if _inside(route[0], networks)]
    return facts.ForeignRoutes(networks, own, tuple(found))


async def obstacles(context: Context) -> facts.Obstacles:
    """Raises NotSeen, OSError, Interrupted."""
    networks, _ = await _groups(context)
    if not networks:
        raise NotSeen("the networks of pods are not known here")
    by_default = 0
    with contextlib.suppress(NotSeen, BusError):
        by_default = (await _first_look(context)).by_default
    return facts.Obstacles(read.read(), networks, by_default)


async def _groups(context: Context) -> tuple[tuple[Prefix, ...], tuple[Prefix, ...]]:
    """The prefixes of all groups, and of this node's. Without the log, as its kernel has them."""
    try:
        state = State(context.wanted.node)
        await _fold(context, state)
    except (NotSeen, BusError):
        async with routes.opened(context.wanted.node) as ours:
            kernel = await ours.reconciler().observe(State(context.wanted.node), True)
        own = tuple(sorted(kernel.unreachable))
        return own, own
    mine = state.hosts.get(context.wanted.node)
    return state.pods, tuple(sorted(mine.groups)) if mine else ()


def _others() -> Iterator[tuple[Prefix, int, str]]:
    for width in (V4, V6):
        with host_socket() as host:
            parts = dump(host, links.get_routes(width))
        for route in links.routes(parts):
            if route.protocol not in (BLOCK_ROUTES, POD_ROUTES):
                yield Prefix(width, route.base, route.length), route.protocol, _way(route)


def _inside(prefix: Prefix, networks: tuple[Prefix, ...]) -> bool:
    return any(network.contains(prefix) for network in networks)


def _way(route: links.Route) -> str:
    if route.gateway is not None:
        return f"via {format_address(route.width, route.gateway)}"
    try:
        return f"dev {if_indextoname(route.oif)}"
    except OSError:
        return "to nowhere"
