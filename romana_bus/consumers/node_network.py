"""NodeNetwork reports: what this node lives on, so that no pod network takes it away.

Reads what the routes reconciler has read from the kernel. Writes NODE: a report whenever it differs from the
newest one on the log, and whenever the map lists the node anew, since IPAM may have forgotten what a node
reported that it did not know. Who asks gets it at any time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from romana_bus import tasks
from romana_bus.bus.api import StreamMissing, Unavailable
from romana_bus.events import NODE, NodeNetwork, codec
from romana_bus.inet import format_address
from romana_bus.runtime import alive
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.bus.api import Store
    from romana_bus.routing import Network

log = structlog.get_logger(__name__)

#: Seconds: within which changes become one report; before a failed report is retried; until it is noticed
#: that the connection is another one, which may lead to another log.
COALESCE, RETRY, RECONNECTED = 0.5, 1.0, 5.0
#: How many addresses, prefixes and gateways a report has at most, of each: a load balancer may have thousands
#: of addresses. The agent itself guards all of them.
MOST = 1000


def node_network(node: str, network: Network) -> NodeNetwork:
    """The report, with the first MOST of each."""

    def texts(addresses: frozenset[tuple[int, int]]) -> tuple[str, ...]:
        return tuple(format_address(*address) for address in sorted(addresses)[:MOST])

    return NodeNetwork(
        node=node,
        consumer="network",
        addresses=texts(network.addresses),
        connected=tuple(map(str, sorted(network.connected)[:MOST])),
        gateways=texts(network.gateways),
        reached=texts(network.reached),
    )


async def report_network(
    store: Store,
    node: str,
    network: Callable[[], Network | None],
    listings: Callable[[], int],
    changed: asyncio.Event,
) -> None:
    """Publish NodeNetwork until cancelled. `network()`: what the node lives on, None: not read yet;
    `listings()`: how often the map has listed the node anew; `changed` is set when one of them is another
    one. Raises Closed, Refused."""

    def current() -> NodeNetwork | None:
        known = network()
        return None if known is None else node_network(node, known)

    stored: tuple[NodeNetwork, int, int] | None = None
    listed = listings()
    silence = await alive.answer(store, current)
    try:
        while True:
            changed.clear()
            report, generation, times = current(), store.generation, listings()
            try:
                if report is not None and (report, generation, times) != stored:
                    if times != listed or await _is_new(store, report):
                        await store.publish(NODE, outgoing(report, "", store.clock.now(), store.history))
                    stored, listed = (report, generation, times), times
            except (Unavailable, StreamMissing) as error:
                log.info("what the node lives on could not be reported", why=str(error))
                await asyncio.sleep(RETRY)
                continue
            await tasks.until_set(changed, RECONNECTED)
            if changed.is_set():
                await asyncio.sleep(COALESCE)
    finally:
        await silence()


async def _is_new(store: Store, report: NodeNetwork) -> bool:
    newest = await store.newest(NODE, report.subject())
    return newest is None or codec.decode(newest.body) != report
