"""What every test may use."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from hypothesis import settings
from nats.js.errors import NotFoundError

from romana_bus.bus.auth.permissions import UP
from romana_bus.bus.connect import open_store
from romana_bus.bus.memory import MemoryStore
from romana_bus.bus.stream_config import Layout
from romana_bus.events import ROLES
from tests import pure
from tests.identities import access_to, administrator
from tests.servers import NatsCluster, NatsServer

pure.install()

# pytest-xdist tells its workers how wide the terminal is; what is printed here goes to none.
os.environ.pop("COLUMNS", None)
# A log's limit is reserved, and many tests make logs on one server.
os.environ["ROMANA_STORE_SIZE"] = "512MB"

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from romana_bus.bus.api import Store
    from romana_bus.bus.auth.permissions import Identity


#: Seconds that an asynchronous test may take, where no mark says otherwise.
LIMIT = 60.0

_clusters = itertools.count(1)

#: The one profile: how long an example takes is the machine's affair.
settings.register_profile("romana", deadline=None)
settings.load_profile("romana")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the product runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every asynchronous test ends within 60 s, or within what its mark says."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            mark = item.get_closest_marker("within")
            item.obj = _bounded(item.obj, mark.args[0] if mark else LIMIT)


def _bounded(test: Callable[..., Coroutine[Any, Any, None]], seconds: float) -> Callable[..., Any]:
    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(seconds):
            await test(*args, **kwargs)

    return bounded


def run(coroutine: Coroutine[Any, Any, None], within: float = LIMIT) -> None:
    """Run a coroutine to its end for a test that is not asynchronous itself, on the product's loop."""

    async def bounded() -> None:
        async with asyncio.timeout(within):
            await coroutine

    uvloop.run(bounded())


@pytest.fixture(autouse=True)
def pure_consumers() -> Iterator[None]:
    """No plan and no decision of the test was impure."""
    yield
    faults, pure.FAULTS[:] = list(pure.FAULTS), []
    if faults:
        raise faults[0]


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


def opener(
    servers: list[str], *, live: bool = False, **layout: Any
) -> Callable[..., AbstractAsyncContextManager[Store]]:
    """A way to open one fresh cluster's store, again and again, as `who`. `live`: as agents open it."""
    kept = Layout(**{"cluster": f"t{next(_clusters)}"} | layout)

    @contextlib.asynccontextmanager
    async def opened(who: Identity = UP) -> AsyncIterator[Store]:
        opening = open_store(access_to(*servers), kept, "test", ROLES, who=who, live=live)
        async with await opening as store:
            yield store

    return opened


@pytest.fixture(scope="session")
def nats_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


ON_CLUSTER = tuple(pytest.param(name, marks=pytest.mark.cluster) for name in ("cluster", "cluster, live"))


@pytest.fixture(params=["memory", "nats", "nats, live", *ON_CLUSTER])
def stores(request: pytest.FixtureRequest) -> Iterator[Callable[..., AbstractAsyncContextManager[Store]]]:
    """The contract's subject: the twin, a real server, and three of them; these in both ways of reading."""
    server, _, live = request.param.partition(", ")
    if server == "memory":
        yield in_memory()
    elif server == "nats":
        yield opener([request.getfixturevalue("nats_server").url], live=bool(live))
    else:
        cluster: NatsCluster = request.getfixturevalue("nats_cluster")
        yield opener(cluster.urls, live=bool(live), replicas=3)
        run(delete_streams(cluster.urls))


def in_memory() -> Callable[..., AbstractAsyncContextManager[Store]]:
    """A way to open one fresh store in memory, again and again."""
    memory = MemoryStore()

    @contextlib.asynccontextmanager
    async def opened(who: Identity = UP) -> AsyncIterator[Store]:
        await memory.prepare(ROLES)
        yield memory

    return opened


async def delete_streams(urls: list[str]) -> None:
    """Delete what a test has left on a cluster: each stream elects and sends heartbeats as long as it is
    there, and a few hundred of them take a quarter of a core from all tests that follow."""
    client = await administrator(*urls)
    log = client.jetstream(timeout=20)
    for stream in await log.streams_info():
        with contextlib.suppress(NotFoundError):
            await log.delete_stream(stream.config.name or "")
    await client.close()
