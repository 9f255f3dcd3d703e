"""Three servers, and the one that a client is connected to is cut off from the others, or stands still: the
client goes to another, and what it writes and reads goes on."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.api import Unavailable
from romana_bus.bus.jetstream import JetStream
from romana_bus.events import AddressAssigned
from romana_bus.loop import run_decider
from romana_bus.telemetry import MOVES
from tests.conftest import opener, run
from tests.contract.test_writer import elected
from tests.netns import needs_namespaces
from tests.servers import separate_cluster
from tests.test_loop import NUMBERS, events, number_of, running, seen

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
        for server in made.servers:
            server.kill()  # one that is cut off would say goodbye to its peers for long


def cut_off(cluster: SeparateCluster, server: NatsServer) -> None:
    cluster.cut_off(server)


def freeze(cluster: SeparateCluster, server: NatsServer) -> None:
    server.freeze()


@pytest.mark.parametrize("strike", [cut_off, freeze])
def test_decisions_go_on_when_the_server_of_the_leaders_client_is_lost(
    cluster: SeparateCluster, strike: Callable[[SeparateCluster, NatsServer], None]
) -> None:
    async def scenario() -> None:
        opened = opener(cluster.urls, replicas=3)
        async with opened() as store, opened() as other:
            assert isinstance(store, JetStream)
            facts = await elected(other, 1)
            async with running(run_decider(store, NUMBERS, "me")):
                await facts.put([seen(f"before-{number}") for number in range(10)])
                await until_given(other, 10)
                left, moves = store.wire.place, MOVES._value.get()
                strike(cluster, cluster.at(left))
                await facts.put([seen(f"after-{number}") for number in range(10)])
                async with asyncio.timeout(30):
                    await until_given(other, 20)
                    while store.problem():
                        await asyncio.sleep(0.05)
                assert store.wire.place != left
                assert strike is freeze or MOVES._value.get() > moves
            await facts.close()

    run(scenario(), within=90)


async def until_given(store: Store, count: int) -> None:
    """Until so many pods have a number, each its own."""
    while True:
        with contextlib.suppress(Unavailable):
            given = [event for event in await events(store) if isinstance(event, AddressAssigned)]
            if len({event.name for event in given}) == count:
                break
        await asyncio.sleep(0.05)
    assert len({number_of(event) for event in given}) == len(given) == count
