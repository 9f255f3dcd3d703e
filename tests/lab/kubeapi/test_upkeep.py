"""What the small API server does without being asked: it forgets, and its version moves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from romana_bus.lab.kubeapi import upkeep
from romana_bus.lab.kubeapi.store import Store
from romana_bus.lab.kubeapi.table import Extent
from tests.lab.apiserver import ApiServer, backup_of, restore
from tests.lab.client import add, asking, until

if TYPE_CHECKING:
    import pytest

PODS = "/api/v1/pods"


async def test_history_is_compacted_again_and_again_while_there_are_writes() -> None:
    server = ApiServer(compact_interval=0.002)
    async with server:
        for _ in range(3):
            compacted = server.store.compacted
            while server.store.compacted <= compacted:
                add(server, "web", f"p{server.store.version}")
                await asyncio.sleep(0)
        assert server.store.history.changes < server.store.version - 1
    last = server.store.version
    async with server:
        await until(lambda: server.store.compacted == last)  # it is what was there an interval before
        assert server.store.history == Extent(0, 0)


async def test_compacted_versions_are_answered_as_by_the_real_server() -> None:
    server = ApiServer(compact_interval=0.002)
    add(server, "web", "a", "b")
    async with asking(server) as client:
        token = (await client.ask(f"{PODS}?limit=1")).json["metadata"]["continue"]
        add(server, "web", "c")
        await until(lambda: server.store.compacted == 4)
        async with client.watch(f"{PODS}?watch=1&resourceVersion=3") as late:
            error = msgspec.json.decode(await late.line())
            assert (error["type"], error["object"]["code"]) == ("ERROR", 410)
            assert error["object"]["message"] == "too old resource version: 3 (4)"
            assert await late.line() == b""
        page = await client.ask(f"{PODS}?limit=1&continue={token}")
        assert (page.status, page.json["reason"]) == (410, "Expired")
        assert page.json["metadata"]["continue"]


async def test_a_store_that_went_back_is_not_compacted_to_a_version_to_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, compacted = Store(), list[int]()
    monkeypatch.setattr(store, "compact", compacted.append)
    backup = backup_of(store)
    store.advance(10)
    job = asyncio.create_task(upkeep.compact_regularly(store, 0.002))
    await asyncio.sleep(0)
    restore(store, backup)
    store.advance(7)
    await until(lambda: bool(compacted))
    assert compacted == [7]
    job.cancel()


async def test_a_quiet_resource_has_bookmarks_of_a_version_that_moves() -> None:
    server = ApiServer(bookmark_interval=0.005, lease_interval=0.001)
    path = f"{PODS}?watch=1&allowWatchBookmarks=true&resourceVersion=1"
    async with asking(server) as client, client.watch(path) as watch:
        versions = []
        for _ in range(3):
            kind, name, version = await watch.event()
            assert (kind, name) == ("BOOKMARK", "")
            versions.append(int(version))
        assert versions == sorted(set(versions))
        assert versions[0] > 1


async def test_upkeep_ends_with_the_server() -> None:
    server = ApiServer(lease_interval=0.001)
    async with server:
        await until(lambda: server.store.version > 1)
    version = server.store.version
    async with ApiServer(lease_interval=0.001) as other:
        await until(lambda: other.store.version > 5)
    assert server.store.version == version
