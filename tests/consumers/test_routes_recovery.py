"""A node comes back to its routes: killed, cut off from the log, away for long, or with the log lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from romana_bus.bus.connect import open_store
from romana_bus.bus.memory import MemoryStore
from romana_bus.bus.stream_config import Layout
from romana_bus.events import IPAM, NODE, ROLES, ApplyFailed, codec
from romana_bus.netlink.monitor import Monitor, Stale
from tests.consumers.reconciling import TO_YOU, reconciled, say, until, ways
from tests.identities import access_to, credentials
from tests.netns import Namespace, needs_namespaces
from tests.routing.routes.hosts_and_blocks import PAIR, block, placed, released

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.bus.api import Store
    from tests.servers import NatsServer

pytestmark = needs_namespaces
_clusters = itertools.count(1)


async def test_agent_down_for_longer_than_the_history_reads_the_table(node: Namespace) -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, *PAIR, block("you", "10.1.2.0/28"))
    async with reconciled(node, store):
        await until(lambda: len(ways(node)) == 4)
    await say(store, released("you", "10.1.2.0/28"))
    store.forget(IPAM, (await store.tail(IPAM)).last)
    assert await store.get(IPAM, 1) is None  # the log has forgotten
    async with reconciled(node, store):
        await until(lambda: ways(node) == TO_YOU)


async def test_emptied_log_removes_no_route(node: Namespace) -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, *PAIR)
    async with reconciled(node, store) as kernel:
        await until(lambda: ways(node) == TO_YOU)
        state = kernel.state
        store.empty(IPAM)
        await until(lambda: kernel.state is not state and kernel.state.adopted)
        assert ways(node) == TO_YOU
        await say(store, placed("me", "10.99.0.1"), placed("you", "10.99.0.2"), block("you", "10.1.1.0/28"))
        store.advance(3)
        await until(lambda: ways(node).keys() == {"10.1.1.0/28"})


async def test_restart_changes_no_route(nats_server: NatsServer, node: Namespace) -> None:
    cluster = f"routes{next(_clusters)}"
    access, layout = access_to(nats_server.url), Layout(cluster=cluster)
    async with await open_store(access, layout, "test", ROLES) as store:
        await say(store, *PAIR)
        command = [
            sys.executable,
            "-m",
            "tests.consumers.agent",
            node.name,
            nats_server.url,
            str(credentials()),
            cluster,
            "me",
        ]
        with process(command) as first:
            await until(lambda: ways(node) == TO_YOU)
            await reports(store, 1)
            first.send_signal(signal.SIGKILL)
            first.wait()
        assert ways(node) == TO_YOU
        with node.inside(lambda: Monitor(0)) as monitor, process(command):
            await reports(store, 2)
            assert monitor.take() == Stale()
            await say(store, block("you", "10.1.2.0/28"))
            await until(lambda: "10.1.2.0/28" in ways(node))


async def reports(store: Store, count: int) -> None:
    """Until so many are on the log, and the last one says that all was well."""
    while (await store.tail(NODE)).last < count:
        await asyncio.sleep(0.01)
    newest = await store.newest(NODE, "node.me.routes")
    assert newest is not None
    assert not isinstance(codec.decode(newest.body), ApplyFailed)


@contextlib.contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


async def test_forwarding_continues_without_the_log_and_catches_up(
    own_server: NatsServer, node: Namespace
) -> None:
    access, layout = access_to(own_server.url), Layout(cluster="away")
    async with await open_store(access, layout, "test", ROLES) as store:
        await say(store, *PAIR)
        async with reconciled(node, store):
            await until(lambda: ways(node) == TO_YOU)
            own_server.kill()
            node.ip("route", "del", "10.1.0.16/28")
            await until(lambda: ways(node) == TO_YOU)  # it is kept up without the log, too
            own_server.start()
            async with await open_store(access, layout, "other", ROLES) as other:
                await say(other, released("you", "10.1.1.0/28"), block("you", "10.1.3.0/28"))
            await until(lambda: "10.1.3.0/28" in ways(node) and "10.1.1.0/28" not in ways(node))
