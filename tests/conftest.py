"""What every test may use."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from hypothesis import settings

from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.memory import MemoryStore
from romana_bus.bus.streams import Layout
from romana_bus.events import IPAM, KUBE, NODE, SPEC
from tests.servers import NatsCluster, NatsServer

# pytest-xdist tells its workers how wide the terminal is; what is printed here goes to none.
os.environ.pop("COLUMNS", None)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from romana_bus.bus.api import Store

ROLES = (KUBE, SPEC, IPAM, NODE)

_clusters = itertools.count(1)

#: The one profile: how long an example takes is the machine's affair.
settings.register_profile("romana", deadline=None)
settings.load_profile("romana")

#: Opens the same store again: what another process would see.
Open = "Callable[[], AbstractAsyncContextManager[Store]]"


def run(test: Coroutine[Any, Any, None], within: float = 60.0) -> None:
    """Run a test's coroutine on the loop that the product runs on; 60 s is for ever."""

    async def bounded() -> None:
        async with asyncio.timeout(within):
            await test

    uvloop.run(bounded())


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One server for all tests that leave it alive; each takes a cluster name of its own."""
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that the test may kill."""
    with NatsServer(tmp_path / "nats") as server:
        yield server


def opener(servers: list[str], **layout: Any) -> Callable[[], AbstractAsyncContextManager[Store]]:
    """A way to open one fresh cluster's store, again and again."""
    kept = Layout(**{"cluster": f"t{next(_clusters)}"} | layout)

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        async with await open_store(Access(servers=tuple(servers)), kept, "test", ROLES) as store:
            yield store

    return opened


@pytest.fixture(scope="session")
def nats_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(params=["memory", "nats", pytest.param("cluster", marks=pytest.mark.cluster)])
def stores(request: pytest.FixtureRequest) -> Callable[[], AbstractAsyncContextManager[Store]]:
    """The contract's subject: the twin, a real server, and three of them."""
    if request.param == "nats":
        return opener([request.getfixturevalue("nats_server").url])
    if request.param == "cluster":
        return opener(request.getfixturevalue("nats_cluster").urls, replicas=3)
    memory = MemoryStore()

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        await memory.prepare(ROLES)
        yield memory

    return opened
