"""Standard error on a full disk, or without a reader: nothing else changes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import urllib.error
from typing import TYPE_CHECKING

import pytest

from romana_bus.events import NodeSeen
from tests.cli.api import ApiThread
from tests.cli.logs import published
from tests.cli.processes import DEADLINE, ROMANA_BUS, Home, until
from tests.cli.serve.test_endpoints import ask, samples
from tests.identities import log_options
from tests.servers import NatsServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Makes a descriptor that takes nothing; closed by whoever asked for it.
Broken = "Callable[[], int]"


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def without_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


BROKEN = pytest.mark.parametrize("broken", [full, without_reader])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Of two pages, one of which is taken."""
    directory = tmp_path / "disk"
    directory.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(directory)]
    if subprocess.run(line, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    (directory / "other").write_bytes(b"x" * 4096)
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


class Serving:
    """A process with a stderr of its own, which is asked how it is."""

    def __init__(self, home: Home, stderr: int, *arguments: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [ROMANA_BUS, *arguments, "--listen", f"127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=home.environment,
        )
        os.close(stderr)

    def until(self, condition: Callable[[], object], what: str) -> None:
        def met() -> object:
            assert self.process.poll() is None, f"it ended before: {what}"
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                return condition()
            return None

        until(met, what)

    def until_ready(self) -> None:
        self.until(lambda: ask(self.url, "/readyz").startswith("ok\n"), "ready")

    def until_folded(self, number: int) -> None:
        name = 'romana_events_folded_total{consumer="ipam",stream="KUBE"}'
        self.until(lambda: samples(self.url).get(name, 0) >= number, f"{number} events are folded")

    @property
    def dropped(self) -> float:
        return samples(self.url)["romana_log_lines_dropped_total"]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def outage(server: NatsServer, running: Serving, number: int) -> None:
    """Then `number` is the event on the log, and the process reads on."""
    server.kill()
    server.start()
    published(log_of(server), NodeSeen(name=f"n{number}", uid=f"u{number}", resource_version=str(number)))
    running.until_folded(number)


def log_of(server: NatsServer) -> tuple[str, ...]:
    return log_options(server.url, "default")


@BROKEN
def test_service_survives_a_stderr_outage(
    broken: Callable[[], int], own_server: NatsServer, home: Home
) -> None:
    with Serving(home, broken(), "run", "ipam", *log_of(own_server)) as running:
        running.until_ready()
        outage(own_server, running, 1)
        assert running.dropped > 0
        assert running.stop() == 0


def test_stderr_reader_that_leaves_breaks_no_connection(own_server: NatsServer, home: Home) -> None:
    """A log call inside of a callback of nats-py, that raises, ends what the callback is called by."""
    reader, writer = os.pipe()
    with Serving(home, writer, "run", "ipam", *log_of(own_server)) as running:
        running.until_ready()
        running.until(lambda: samples(running.url).get('romana_leader{consumer="ipam"}') == 1, "it leads")
        os.close(reader)
        for number in (1, 2):
            outage(own_server, running, number)
        assert running.dropped > 0
        assert running.stop() == 0


@BROKEN
def test_watch_survives_a_stderr_outage(
    broken: Callable[[], int], nats_server: NatsServer, home: Home
) -> None:
    log = log_options(nats_server.url, f"watched-{broken.__name__.replace('_', '-')}")
    with ApiThread() as api, Serving(home, broken(), "watch", "--server", api.server.url, *log) as watching:
        watching.until_ready()
        api.node("n1", "a", "192.0.2.1")
        seen = 'romana_events_published_total{consumer="watch",type="NodeSeen"}'
        watching.until(lambda: samples(watching.url).get(seen) == 1, "the node is on the log")
        assert watching.dropped > 0
        assert watching.stop() == 0


def test_lost_log_lines_are_counted_once_the_disk_has_space_again(
    disk: Path, own_server: NatsServer, home: Home
) -> None:
    path, number = disk / "stderr", itertools.count(1)
    path.write_bytes(b"x" * 3000 + b"\n")
    stderr = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with Serving(home, stderr, "run", "ipam", *log_of(own_server)) as running:
        running.until_ready()
        while not running.dropped:
            outage(own_server, running, next(number))
        os.truncate(disk / "other", 0)
        size = path.stat().st_size
        outage(own_server, running, next(number))
        running.until(lambda: path.stat().st_size > size, "there is room")
        assert running.stop() == 0
    lines = path.read_bytes().splitlines()[1:]
    whole = [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]
    assert sum(one.get("lines_dropped", 0) for one in whole) > 0
    assert len(lines) - len(whole) <= 1  # the one in whose middle the disk was full


@BROKEN
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("nope", 2),
        ("status --nats nats://127.0.0.1:1", 1),
        ("run ipam --network nope", 2),
        ("topology validate /none", 2),
        ("--version", 0),
    ],
)
def test_exit_codes_do_not_change(broken: Callable[[], int], line: str, code: int, home: Home) -> None:
    stderr = broken()
    done = subprocess.run(
        [ROMANA_BUS, *line.split()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env=home.environment,
        timeout=DEADLINE,
        check=False,
    )
    os.close(stderr)
    assert done.returncode == code
