"""The watcher as a whole: API server in, facts on the log; and what becomes of them when it dies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.memory import MemoryStore
from romana_bus.events import KUBE, ROLES, Event, Fact, PodSeen, ResourceListing, ResourceSynced, codec
from romana_bus.kubernetes.api import Api, Target
from romana_bus.lab.kubeapi import resources as lab
from romana_bus.producers.kubernetes.watcher import run_watcher
from tests.lab.apiserver import ApiServer
from tests.lab.client import add
from tests.producers.kubernetes.watching import QUICK, delete, pods
from tests.runtime.small_consumers import events, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from romana_bus.bus.api import Store

    Stores = Callable[..., AbstractAsyncContextManager[Store]]

both = pytest.mark.parametrize("stores", ["memory", "nats"], indirect=True)


async def watcher(store: Store, server: ApiServer, holder: str) -> None:
    api = Api(Target(server=server.url))
    await api.open()
    try:
        await run_watcher(store, api, holder, limits=QUICK)
    finally:
        await api.close()


async def until(store: Store, condition: Callable[[list[Any]], bool]) -> list[Any]:
    while not (await store.tail(KUBE)).last or not condition(found := await events(store, KUBE)):
        await asyncio.sleep(0.02)
    return found


def synced(found: list[Event]) -> bool:
    return len({event.resource for event in found if isinstance(event, ResourceSynced)}) == 4


def seen(name: str) -> Callable[[list[Event]], bool]:
    return lambda found: any(isinstance(event, PodSeen) and event.name == name for event in found)


def pod_names(found: list[Event]) -> list[str]:
    return [event.name for event in found if isinstance(event, PodSeen)]


@both
async def test_everything_that_the_api_server_has_is_on_the_log_once(stores: Stores) -> None:
    async with stores() as store, ApiServer() as server:
        pods(server, *(f"p{number}" for number in range(50)))
        add(server, "", "n1", "n2", resource=lab.NODES)
        async with running(watcher(store, server, "w")):
            await until(store, synced)
            pods(server, "late")
            found = await until(store, seen("late"))
        assert sorted(pod_names(found)) == sorted([*(f"p{number}" for number in range(50)), "late"])
        facts = [(event.uid, event.resource_version) for event in found if isinstance(event, Fact)]
        assert len(facts) == len(set(facts)) == 53


@both
async def test_a_second_watcher_goes_on_where_the_first_was_without_a_listing(stores: Stores) -> None:
    async with stores() as store, ApiServer() as server:
        pods(server, "a", "b")
        async with running(watcher(store, server, "first")) as [first]:
            await until(store, synced)
            async with running(watcher(store, server, "second")):
                pods(server, "c")
                await until(store, seen("c"))
                first.cancel()
                pods(server, "d")
                delete(server, "a")
                found = await until(store, seen("d"))
        assert pod_names(found) == ["a", "b", "c", "d"]
        assert sum(isinstance(event, ResourceListing) for event in found) == 4


async def test_emptied_log_is_filled_again() -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    async with ApiServer() as server:
        pods(server, "a", "b")
        async with running(watcher(store, server, "w")):
            await until(store, synced)
            store.empty(KUBE)
            pods(server, "c")
            while KUBE not in store._streams:
                await asyncio.sleep(0.01)
            store.advance(3)
            found = await until(store, lambda found: synced(found) and seen("c")(found))
        assert sorted(pod_names(found)) == ["a", "b", "c"]


async def test_restored_log_is_filled_again_by_a_listing() -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    async with ApiServer() as server:
        pods(server, "a")
        async with running(watcher(store, server, "w")):
            await until(store, synced)
            pods(server, "b")
            await until(store, seen("b"))
            store.rewind(KUBE, (await store.tail(KUBE)).last - 1)
            pods(server, "c")
            store.advance(3)
            found = await until(store, seen("c"))
        assert sorted(pod_names(found)) == ["a", "b", "c"]
        assert [e.reason for e in found if isinstance(e, ResourceListing)][4:]


async def test_published_events_can_be_read_by_any_client() -> None:
    """The bodies are JSON objects with their type: `nats sub` is enough."""
    store = MemoryStore()
    await store.prepare(ROLES)
    async with ApiServer() as server:
        pods(server, "a")
        async with running(watcher(store, server, "w")):
            await until(store, synced)
        message = await store.newest(KUBE, "kube.pod.web.a")
        assert message is not None
        assert message.body.startswith(
            b'{"type":"PodSeen","resource_version":"2","listing":1,"uid":"u2","name":"a"'
        )
        assert message.id.endswith(f"/{message.seq}")  # numbered by its place
        assert isinstance(codec.decode(message.body), PodSeen)
