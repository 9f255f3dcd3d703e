"""A table forgets what agents reported whose nodes are gone, and nothing that somebody may still need."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from romana_bus.bus.api import Outgoing, Store
from romana_bus.bus.jetstream import compaction
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.consumers import ipam
from romana_bus.events import (
    NODE,
    NodeNetwork,
    NodeSeen,
    ResourceSynced,
    SandboxRequested,
    Settings,
)
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.loop import run_decider
from tests.conftest import opener
from tests.identities import ADMINISTRATOR
from tests.runtime.small_consumers import running

if TYPE_CHECKING:
    import pytest

    from romana_bus.events import Event
    from tests.servers import NatsServer

#: A node's name may have dots and capitals; `-` stands for what belongs to no node.
LIVING = ["node.n1_example.network", "node.n1_example.cni.web.a", "node.-.parked.ipam", "node.-.refused.x"]
DEAD = [
    "node.n2.network",
    "node.n2.node",
    "node.n2.routes",
    "node.n2.cni",
    "node.n2.cni.web.b",
    "node.n2.refused.agent",
]
OF_OTHERS = ["node.n2.theirs", "node.rack7.network-probe"]


async def subjects(store: Store) -> set[str]:
    return {message.subject async for batch in store.table(NODE) for message in batch}


async def say(store: Store, *events: Event) -> None:
    for event in events:
        await store.publish(event.role, outgoing(event, "", store.clock.now(), 3600))


async def test_reports_of_a_node_that_is_gone_leave_the_table(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("EVERY", 0.02), ("SURVEY", 0.02)):
        monkeypatch.setattr(compaction, name, seconds)
    async with opener([nats_server.url])(ADMINISTRATOR) as store, asyncio.timeout(300):
        assert isinstance(store, JetStream)
        for subject in (*LIVING, *DEAD, *OF_OTHERS):
            await store.publish(NODE, Outgoing(subject, b"{}"))
        await say(store, NodeSeen(name="n1.example", uid="u", resource_version="1"))
        synced = [ResourceSynced(resource=name, resource_version="2", count=1) for name in ("nodes", "pods")]
        await say(store, synced[1])

        async def noticed(mark: bytes) -> None:
            """Compaction has been at work since now."""
            for _ in range(2):
                last = await store.publish(NODE, Outgoing("node.-.parked.mark", mark))
            while [m.seq async for b in store.table(NODE) for m in b if m.body == mark] != [last]:
                await asyncio.sleep(0.02)

        everything = {*LIVING, *DEAD, *OF_OTHERS, "node.-.parked.mark"}
        async with running(run_decider(store, ipam.decider(Settings()), "me")):
            store.history, kept = 0.0, store.history
            await noticed(b"not all nodes are listed yet")
            assert await subjects(store) == everything
            store.history = kept
        async with running(run_decider(store, ipam.decider(Settings()), "me")):
            await say(store, synced[0])
            await noticed(b"the log still has it")
            assert await subjects(store) == everything
        store.history = 0.0
        async with running(run_decider(store, ipam.decider(Settings()), "me")):
            while await subjects(store) != everything - {*DEAD}:
                await asyncio.sleep(0.02)
            network = NodeNetwork(node="n2", consumer="network", addresses=("192.0.2.7",))
            await say(store, NodeSeen(name="n2", uid="v", resource_version="3"), network)
            await say(store, SandboxRequested(node="n3", namespace="web", name="c", uid="w", sandbox="s"))
            last = (await store.tail(NODE)).last
            while await store.table_end(NODE) < last:
                await asyncio.sleep(0.02)
            while "node.n3.cni.web.c" in await subjects(store):
                await asyncio.sleep(0.02)
            assert "node.n2.network" in await subjects(store), "the node is back"
        newest = await store.newest(NODE, "node.n2.routes")
        assert newest, "the log keeps it as long as everything"
