"""Three servers, and the one that leads the stream dies or freezes while it is written and read."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.jetstream.store import JetStream
from romana_bus.events import KUBE
from tests.bus.jetstream.test_server_faults import put_numbers, stored, until
from tests.conftest import opener
from tests.contract.test_store import follow, read_table
from tests.contract.test_writer import write
from tests.servers import NatsCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers import NatsServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path) as servers:
        yield servers


async def leader(store: JetStream, cluster: NatsCluster) -> NatsServer:
    info = await store.api(f"STREAM.INFO.{store.layout.stream(KUBE)}")
    return cluster.named(info["cluster"]["leader"])


async def booted(store: JetStream) -> dict[str, str]:
    """What a consumer that starts now would know. The table alone would not do: its mirror resumes up
    to a minute after the loss of the server it read from; what it lacks comes from the log."""
    messages, reached = await read_table(store, KUBE)
    if missing := (await store.tail(KUBE)).last - reached.seq:
        messages += await follow(store, KUBE, reached, missing)
    return {message.subject: message.body.decode() for message in messages}


def kill(server: NatsServer) -> Callable[[], object]:
    server.kill()
    return server.start


def freeze(server: NatsServer) -> Callable[[], object]:
    server.freeze()
    return server.thaw


@pytest.mark.parametrize("strike", [kill, freeze])
async def test_loss_of_the_stream_leader_costs_delay_and_no_event(
    cluster: NatsCluster, strike: Callable[[NatsServer], Callable[[], object]]
) -> None:
    async with opener(cluster.urls, replicas=3)() as store:
        assert isinstance(store, JetStream)
        reader = asyncio.ensure_future(stored(store, 20_000))
        writer = await write(store, 0, term=1)
        putting = asyncio.ensure_future(put_numbers(writer, 20_000))
        await until(lambda: writer.acknowledged > 5000)
        repair = strike(await leader(store, cluster))
        await until(lambda: writer.acknowledged > 12_000, within=50)
        repair()
        await putting
        assert await writer.flush() == 20_000
        assert await reader == [str(number) for number in range(20_000)]
        await writer.close()
        assert await booted(store) == {f"kube.pod.web.p{n % 500}": str(n) for n in range(19_500, 20_000)}


async def test_replicas_that_start_together_make_one_log(nats_cluster: NatsCluster) -> None:
    """On a cluster a stream that somebody else makes is in use before it is there."""
    for _ in range(3):
        opened = opener(nats_cluster.urls, replicas=3)
        async with contextlib.AsyncExitStack() as stack:
            stores = await asyncio.gather(*(stack.enter_async_context(opened()) for _ in range(4)))
            assert len({(await store.tail(KUBE)).epoch for store in stores}) == 1
