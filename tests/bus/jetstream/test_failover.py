"""Three servers, and the one that a client is connected to is cut off from the others, or stands still: the
client goes to another, and what it writes and reads goes on."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.api import Unavailable
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.events import KUBE, AddressAssigned
from romana_bus.metrics import MOVES
from romana_bus.runtime.loop import run_decider
from tests.conftest import opener
from tests.contract.test_writer import elected
from tests.netns import needs_namespaces
from tests.runtime.small_consumers import NUMBERS, events, number_of, running, seen
from tests.servers import separate_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from romana_bus.bus.api import Store
    from tests.servers import NatsServer, SeparateCluster

pytestmark = [pytest.mark.cluster, needs_namespaces]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SeparateCluster]:
    if not shutil.which("iptables"):
        pytest.skip("a server is cut off with iptables: apt-get install iptables")
    with separate_cluster(tmp_path) as made, made.clients.entered(), made:
        yield made


def cut_off(cluster: SeparateCluster, server: NatsServer) -> None:
    cluster.cut_off(server)


def freeze(cluster: SeparateCluster, server: NatsServer) -> None:
    server.freeze()


@pytest.mark.parametrize(
    ("strike", "led"),
    [
        pytest.param(cut_off, True, id="cut off as the stream's leader"),
        pytest.param(cut_off, False, id="cut off"),
        pytest.param(freeze, True, id="frozen"),
    ],
)
@pytest.mark.within(90)
async def test_decisions_go_on_when_the_server_of_the_leaders_client_is_lost(
    cluster: SeparateCluster, strike: Callable[[SeparateCluster, NatsServer], None], led: bool
) -> None:
    """A server that led a stream answers for long as if it still did, when it is cut off."""
    opened = opener(cluster.urls, replicas=3)
    async with opened() as store, opened() as other:
        assert isinstance(store, JetStream)
        facts = await elected(other, 1)
        async with running(run_decider(store, NUMBERS, "me")):
            await facts.put([seen(f"before-{number}") for number in range(10)])
            await until_given(other, 10)
            left = await moved(store, cluster, led)
            moves = MOVES._value.get()
            strike(cluster, cluster.at(left))
            await facts.put([seen(f"after-{number}") for number in range(10)])
            async with asyncio.timeout(30):
                await until_given(other, 20)
                while store.problem():
                    await asyncio.sleep(0.05)
            assert store.wire.place != left
            assert strike is freeze or MOVES._value.get() > moves
        await facts.close()


async def moved(store: JetStream, cluster: SeparateCluster, led: bool) -> str:
    """To the server that leads the stream of facts, or to another: gives its place."""
    info = await store.api(f"STREAM.INFO.{store.layout.stream(KUBE)}")
    leader = cluster.named(info["cluster"]["leader"])
    server = next(one for one in cluster.servers if (one is leader) is led)
    place, before = f"{server.host}:{server.port}", store.generation
    if store.wire.place != place:
        store.wire.move(place)
        while store.generation == before or not store.connected:
            await asyncio.sleep(0.01)
    return store.wire.place


async def until_given(store: Store, count: int) -> None:
    """Until so many pods have a number, each its own."""
    while True:
        with contextlib.suppress(Unavailable):
            given = [event for event in await events(store) if isinstance(event, AddressAssigned)]
            if len({event.name for event in given}) == count:
                break
        await asyncio.sleep(0.05)
    assert len({number_of(event) for event in given}) == len(given) == count
