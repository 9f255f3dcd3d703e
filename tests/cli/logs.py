"""A log that holds what a cluster in memory went through, at the times at which it did."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.events import ROLES
from romana_bus.runtime.feed import outgoing
from tests.conftest import run
from tests.ipam.cluster import Cluster, topology

if TYPE_CHECKING:
    from romana_bus.events import Event
    from tests.servers import NatsServer

_clusters = itertools.count(1)


def ago(seconds: float, topology: dict[str, Any], **settings: Any) -> Cluster:
    """A cluster that begins so many seconds before now."""
    return Cluster(topology, now=int(time.time() - seconds), **settings)


def begun(url: str, cluster: str) -> tuple[str, ...]:
    """The options of a log that exists and is empty."""

    async def make() -> None:
        async with await open_store(Access(servers=(url,)), Layout(cluster), "test", ROLES):
            pass

    run(make())
    return ("--nats", url, "--cluster", cluster)


def published(options: tuple[str, ...], *events: Event) -> None:
    """On the log that these options reach, as somebody would who is no process of this test."""

    async def publish() -> None:
        async with await open_store(
            Access(servers=(options[1],)), Layout(options[3]), "test", ROLES
        ) as store:
            for event in events:
                await store.publish(event.role, outgoing(event, "", time.time_ns() // 1000, store.history))

    run(publish())


def stored(server: NatsServer, cluster: Cluster) -> tuple[str, ...]:
    """The options that reach its log."""
    name = f"stored{next(_clusters)}"

    async def publish() -> None:
        access = Access(servers=(server.url,))
        async with await open_store(access, Layout(name), "test", ROLES) as store:
            for one in cluster.log:
                await store.publish(one.role, outgoing(one.event, one.cause, one.time, store.history))

    run(publish())
    return ("--nats", server.url, "--cluster", name)


def with_nodes(*names: str, seconds: float = 1) -> Cluster:
    c = ago(seconds, topology("10.0.0.0/16", 28))
    for name in names:
        c.node(name)
    c.decide()
    return c
