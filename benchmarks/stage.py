"""What benchmarks run on: a NATS server that syncs every write, and processes of the product."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from romana_bus.bus.api import Outgoing, Position
from romana_bus.bus.clock import wall as now
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.bus.writing.write import FencedWriter
from romana_bus.events import ROLES, LeaderElected
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.process import logs
from tests.servers import NatsServer, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from romana_bus.bus.jetstream.store import JetStream


logs.configure("error", False)


class Server(NatsServer):
    """With its monitoring port, so that `sync_interval: always` is not only asked for but verified; open to
    everybody, so to peers too. (`permissions` measures what identities cost.)"""

    def __init__(self, directory: Path, sync: str = "always") -> None:
        self.sync, self.monitor = sync, f"127.0.0.1:{free_port()}"
        super().__init__(directory, f'http: "{self.monitor}"', f"sync_interval: {sync}", users="")

    @property
    def verified(self) -> str:
        """URL of the monitoring port, where it says what we want to hear."""
        return f"http://{self.monitor}" if self.sync == "always" else ""

    @property
    def options(self) -> tuple[str, ...]:
        return ("--nats", self.url, "--nats-monitor", self.verified)


@contextlib.contextmanager
def nats() -> Iterator[Server]:
    """One server that syncs every write, on a store that goes with it."""
    with tempfile.TemporaryDirectory(prefix="romana-bench-") as scratch, Server(Path(scratch)) as server:
        yield server


@contextlib.asynccontextmanager
async def store(url: str, monitor: str = "") -> AsyncIterator[JetStream]:
    access = Access(servers=(url,), monitor=monitor)
    async with await open_store(access, Layout(), "benchmark", ROLES) as opened:
        yield opened


@contextlib.contextmanager
def process(*arguments: str, module: str = "romana_bus") -> Iterator[subprocess.Popen[bytes]]:
    """One of ours, stopped at the end; its stdout is a pipe."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            yield child
            if child.poll() not in (None, 0):
                raise SystemExit(f"{arguments} ended by itself:\n{_tail(log)}")
        finally:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
            child.wait()


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-2000:].decode(errors="replace")


def resident(pid: int, which: str = "VmRSS") -> float:
    """Resident memory of a process in MiB (proc(5)); VmHWM is the most that it ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:")) / 1024


async def leader(store: JetStream, role: str) -> FencedWriter:
    """Behind the end of the log and elected, as whoever writes it is."""
    tail = await store.tail(role)
    writer = FencedWriter(store, role, Position(tail.epoch, tail.last, ""), 1)
    await writer.elect(elected(store, role))
    return writer


def elected(store: JetStream, role: str) -> Outgoing:
    event = LeaderElected(stream=role, term=1, holder="benchmark")
    return outgoing(event, "", now(), store.history)
