"""What fails in the failover benchmark: each fault with the function that ends it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import urllib.request
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.log.watcher import WITHIN
from romana_bus.events import IPAM, LeaderElected, codec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from romana_bus.bus.jetstream.store import JetStream
    from tests.servers import NatsServer, SeparateCluster


class Struck(NamedTuple):
    cluster: SeparateCluster
    store: JetStream


async def stream_leader(struck: Struck) -> NatsServer:
    info = await struck.store.api(f"STREAM.INFO.{struck.store.layout.stream(IPAM)}")
    return struck.cluster.named(info["cluster"]["leader"])


async def leaders_server(struck: Struck) -> NatsServer:
    """The one that the client of the process that leads is connected to."""
    newest = await struck.store.newest(IPAM, "ipam.leader")
    elected = codec.decode(newest.body) if newest else None
    assert isinstance(elected, LeaderElected)
    pid = elected.holder.rpartition("/")[2].partition("-")[0]
    for line in struck.cluster.clients.run("ss", "-Htnp", "state", "established").splitlines():
        if f"pid={pid}," in line and (found := re.search(r"10\.77\.0\.[123]:\d+", line)):
            return struck.cluster.at(found[0])
    raise SystemExit(f"process {pid}, which leads, has no connection to NATS")


async def kill(struck: Struck) -> Callable[[], object]:
    server = await stream_leader(struck)
    server.kill()
    return server.start


async def freeze(struck: Struck) -> Callable[[], object]:
    server = await stream_leader(struck)
    server.freeze()
    return server.thaw


async def cut_off(struck: Struck) -> Callable[[], object]:
    server = await leaders_server(struck)
    struck.cluster.cut_off(server)
    return lambda: struck.cluster.join(server)


async def cut_off_leader(struck: Struck) -> Callable[[], object]:
    """It goes on answering as if it led."""
    server = await stream_leader(struck)
    struck.cluster.cut_off(server)
    return lambda: struck.cluster.join(server)


async def fill(struck: Struck) -> Callable[[], object]:
    server = await stream_leader(struck)
    ballast = server.directory / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # until there is no room
        while True:
            file.write(bytes(1 << 16))

    def make_room() -> None:
        server.stop()
        ballast.unlink()
        server.start()

    return make_room


async def roll(struck: Struck) -> Callable[[], object]:
    """Each is stopped and started when the one before it is well, as a StatefulSet is."""
    for server in struck.cluster.servers:
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await until_well(struck.cluster)
    return lambda: None


FAULTS: dict[str, tuple[str, Callable[[Struck], Awaitable[Callable[[], object]]]]] = {
    "kill": ("the stream's leader is killed", kill),
    "freeze": ("the stream's leader stands still", freeze),
    "cut": ("the deciding client's server is cut off from its peers", cut_off),
    "cut-leader": ("the stream's leader is cut off from its peers", cut_off_leader),
    "disk": ("the disk of the stream's leader is full", fill),
    "roll": ("all three are restarted, one after the other", roll),
}


async def until_well(cluster: SeparateCluster) -> None:
    """Until every server says that all its copies of streams are up to date."""
    async with asyncio.timeout(WITHIN):
        for server in cluster.servers:
            while not await asyncio.to_thread(_is_well, server):
                await asyncio.sleep(0.1)


def _is_well(server: NatsServer) -> bool:
    try:
        with urllib.request.urlopen(f"http://{server.host}:8222/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
