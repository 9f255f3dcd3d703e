"""A log that holds what a cluster in memory went through, at the times at which it did."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

from romana_bus.bus.connect import open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.events import NODE, ROLES
from romana_bus.events.node import Report
from romana_bus.runtime import alive
from romana_bus.runtime.feed import outgoing
from tests.conftest import run
from tests.identities import ADMINISTRATOR, access_to, log_options
from tests.ipam.cluster import Cluster, topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.events import Event
    from tests.servers import NatsServer

_clusters = itertools.count(1)


def ago(seconds: float, topology: dict[str, Any], **settings: Any) -> Cluster:
    """A cluster that begins so many seconds before now."""
    return Cluster(topology, now=int(time.time() - seconds), **settings)


def begun(url: str, cluster: str) -> tuple[str, ...]:
    """The options of a log that exists and is empty."""

    async def make() -> None:
        async with await open_store(access_to(url), Layout(cluster), "test", ROLES):
            pass

    run(make())
    return log_options(url, cluster)


def published(options: tuple[str, ...], *events: Event) -> None:
    """On the log that these options reach, as somebody would who is no process of this test."""

    async def publish() -> None:
        async with await open_store(
            access_to(options[1]), Layout(options[3]), "test", ROLES, who=ADMINISTRATOR
        ) as store:
            for event in events:
                await store.publish(event.role, outgoing(event, "", time.time_ns() // 1000, store.history))

    run(publish())


def stored(server: NatsServer, cluster: Cluster) -> tuple[str, ...]:
    """The options that reach its log."""
    name = f"stored{next(_clusters)}"

    async def publish() -> None:
        access = access_to(server.url)
        async with await open_store(access, Layout(name), "test", ROLES, who=ADMINISTRATOR) as store:
            for one in cluster.log:
                await store.publish(one.role, outgoing(one.event, one.cause, one.time, store.history))

    run(publish())
    return log_options(server.url, name)


@contextlib.contextmanager
def answering(options: tuple[str, ...], cluster: Cluster, *nodes: str) -> Iterator[None]:
    """Agents of these nodes that answer who asks with what they reported last."""
    newest = {event.subject(): event for one in cluster.log if isinstance(event := one.event, Report)}
    reports = [event for event in newest.values() if event.node in nodes]
    ready, loop, ended = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def live() -> None:
        access = access_to(options[1])
        async with await open_store(access, Layout(options[3]), "agents", ROLES, who=ADMINISTRATOR) as store:
            for report in reports:
                await alive.answer(store, functools.partial(lambda report: report, report))
            await store.tail(NODE)  # the server knows of the ears
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def with_nodes(*names: str, seconds: float = 1) -> Cluster:
    c = ago(seconds, topology("10.0.0.0/16", 28))
    for name in names:
        c.node(name)
    c.decide()
    return c
