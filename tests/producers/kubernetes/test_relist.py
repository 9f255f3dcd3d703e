"""A listing that is asked for while a watch runs: made once, at once, and no trouble to the server."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import pytest

from romana_bus.bus.memory import MemoryStore
from romana_bus.events import (
    KUBE,
    ROLES,
    SPEC,
    ListingAsked,
    PodGone,
    PodSeen,
    ResourceListing,
    ResourceSynced,
)
from romana_bus.producers.kubernetes.objects import PODS
from romana_bus.producers.kubernetes.progress import Watched, evolve
from romana_bus.producers.kubernetes.resource_watch import ResourceWatch
from romana_bus.runtime.feed import outgoing
from tests.lab.apiserver import ApiServer
from tests.lab.faults import Fault
from tests.producers.kubernetes.test_watcher import both, seen, until, watcher
from tests.producers.kubernetes.watching import QUICK, Reported, pods
from tests.runtime.small_consumers import events, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from typing import Any

    from romana_bus.bus.api import Store

    Stores = Callable[..., AbstractAsyncContextManager[Store]]


async def ask(store: Store, at: int, reason: str = "an audit") -> None:
    newest = await store.newest(SPEC, "spec.listing.pods")
    event = ListingAsked(resource="pods", reason=reason, at=at)
    await store.publish(SPEC, outgoing(event, "", at, store.history), newest.seq if newest else 0)


def answered(at: int) -> Callable[[list[Any]], bool]:
    return lambda found: any(isinstance(one, ResourceSynced) and one.asked == at for one in found)


def listings(found: list[Any]) -> list[str]:
    return [one.reason for one in found if isinstance(one, ResourceListing) and one.resource == "pods"]


@both
@pytest.mark.parametrize("streaming", [True, False], ids=["streaming list", "pages"])
async def test_relist_is_made_at_once_for_each_request(stores: Stores, streaming: bool) -> None:
    """Also by somebody whose clock is behind."""
    async with stores() as store, ApiServer(streaming_list=streaming) as server:
        pods(server, "a")
        async with running(watcher(store, server, "w")):
            await until(store, seen("a"))
            for at in (500, 400, 600):
                await ask(store, at)
                found = await until(store, answered(at))
            pods(server, "b")
            found = await until(store, seen("b"))
        assert listings(found) == ["first listing", "an audit", "an audit", "an audit"]
        assert sum(getattr(one, "name", "") == "a" for one in found) == 1, "nothing is told twice"


@both
async def test_interrupted_relist_is_made_after_a_restart(stores: Stores) -> None:
    async with stores() as store, ApiServer() as server:
        pods(server, "a")
        async with running(watcher(store, server, "one")):
            await until(store, seen("a"))
            await ask(store, 500)
            await until(store, answered(500))
        async with running(watcher(store, server, "two")):
            pods(server, "b")
            assert len(listings(await until(store, seen("b")))) == 2
        await ask(store, 600)
        async with running(watcher(store, server, "three")):
            found = await until(store, answered(600))
            assert len(listings(found)) == 3


@both
async def test_relist_releases_objects_missing_at_the_server(stores: Stores) -> None:
    async with stores() as store, ApiServer() as server:
        pods(server, "a")
        async with running(watcher(store, server, "w")):
            await until(store, seen("a"))
        (real,) = [one for one in await events(store, KUBE) if isinstance(one, PodSeen)]
        ghost = msgspec.structs.replace(real, name="ghost", uid="ghost", resource_version="1")
        await store.publish(KUBE, outgoing(ghost, "", 1, store.history))
        await ask(store, 500)
        async with running(watcher(store, server, "v")):
            found = await until(store, lambda found: any(isinstance(one, PodGone) for one in found))
        assert [one.name for one in found if isinstance(one, PodGone)] == ["ghost"]


async def test_unreachable_server_is_not_asked_forever() -> None:
    """Only the watch that we end ourselves is followed at once by the next request."""
    reported, state = Reported(), Watched()
    calls, clock = list[float](), asyncio.get_running_loop().time
    tried = asyncio.Event()

    class Away:
        generation = 0

        async def get(self, *_: object) -> Any:
            calls.append(clock())
            if len(calls) == 5:
                tried.set()
            raise ConnectionRefusedError("away")

    evolve(state, ListingAsked(resource="pods", reason="x", at=1))
    watch = ResourceWatch(Away(), PODS, state, reported.publish, QUICK)  # type: ignore[arg-type]
    async with running(watch.run()):
        await tried.wait()
    pauses = [later - earlier for earlier, later in pairwise(calls)]
    least = (0.01, 0.02, 0.04, 0.05)  # doubling, up to the most; a loop's clock counts milliseconds
    assert all(pause > wait - 0.002 for pause, wait in zip(pauses, least, strict=True)), pauses


async def test_relist_requested_during_another_follows_it() -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    async with ApiServer() as server:
        pods(server, "a")
        server.faults.append(Fault(verb="watch", plural="pods", silent=True))
        async with running(watcher(store, server, "w")):
            while not server.requests["watch", "pods"]:
                await asyncio.sleep(0.01)
            await ask(store, 500)
            found = await until(store, answered(500))
        assert found
