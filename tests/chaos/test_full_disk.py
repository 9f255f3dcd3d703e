"""A disk that fills up under NATS: what was acknowledged stays, what was not waits, and somebody is told.

nats-server 2.15 disables JetStream when a write finds no space, and stops answering its API; only a
restart makes it look again. One that reaches its own `max_file_store` says so and goes on serving reads.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from romana_bus.bus.writing import write as writing
from romana_bus.events import KUBE
from tests.bus.jetstream.test_server_faults import stored, until
from tests.conftest import opener
from tests.contract.test_store import out, table_at
from tests.contract.test_writer import write
from tests.servers import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from romana_bus.bus.writing.write import FencedWriter

pytestmark = pytest.mark.chaos

COUNT, SIZE = 2000, 10_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Too small for what is to come."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(tmp_path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip() or 'mount failed'}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


async def put(writer: FencedWriter) -> None:
    for number in range(COUNT):
        await writer.put([out(f"kube.pod.web.p{number % 50}", _body(number), f"id-{number}")])


def _body(number: int) -> str:
    return f"{number} ".ljust(SIZE, "x")


@pytest.mark.parametrize("limit", ["1GB", "6MB"], ids=["no space on the disk", "the server's own limit"])
@pytest.mark.within(110)
async def test_full_disk_costs_delay_and_is_reported(
    disk: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(writing, "COMPLAIN", 1.0)

    with NatsServer(disk / "nats", jetstream=f"sync_interval: always, max_file_store: {limit}") as server:
        async with opener([server.url])() as store:
            writer = await write(store, 0, term=1)
            with capture_logs() as said:
                await put(writer)
                await until(lambda: any("its disk is full" in line["event"] for line in said), 40)
            acknowledged = writer.acknowledged
            assert 0 < acknowledged < COUNT
            assert not writer.failed.is_set()

            server.stop()
            free_disk_space(disk, server)
            server.start()
            await until(lambda: store.generation > 0)
            kept = (await stored(store, acknowledged))[:acknowledged]
            assert kept == [_body(number) for number in range(acknowledged)]
            assert await writer.flush() == COUNT
            assert await stored(store, COUNT) == [_body(number) for number in range(COUNT)]
            rows, _ = await table_at(store, KUBE, COUNT)  # read while it is still filled
            newest = {message.subject: message.seq for message in rows}
            assert sorted(newest.values()) == list(range(COUNT - 49, COUNT + 1))
            await writer.close()


def free_disk_space(disk: Path, server: NatsServer) -> None:
    subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
    server.jetstream = "sync_interval: always"
