"""Real NATS servers for tests: one, or three in a cluster, on loopback or each in a namespace of its own,
killed, frozen, cut off and restarted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from romana_bus.bus.embedded.client import server_binary
from tests.identities import permissions
from tests.netns import Namespace, namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class NatsServer:
    """One server process. `extra`: further lines of its configuration. `place`: the namespace that it runs
    in, with `host` as its address there. `users`: who may connect, in its configuration; '' is everybody, and
    None those of `tests.identities`."""

    def __init__(
        self,
        directory: Path,
        extra: str = "",
        jetstream: str = "sync_interval: always",
        binary: str = "",
        host: str = "127.0.0.1",
        place: Namespace | None = None,
        users: str | None = None,
    ) -> None:
        self.directory, self.port, self.users = directory, free_port(), users
        self.host, self.place = host, place
        self.binary = binary or server_binary()
        self.extra, self.jetstream = extra, jetstream
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"

    def start(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "nats.conf"
        store = f"store_dir: {json.dumps(str(self.directory / 'js'))}"
        jetstream = f"jetstream {{ {store}, {self.jetstream} }}" if self.jetstream != "off" else ""
        users = permissions() if self.users is None else self.users
        config.write_text(f'listen: "{self.host}:{self.port}"\n{jetstream}\n{self.extra}\n{users}\n')
        return self.run(config)

    def run(self, config: Path, environment: Mapping[str, str] | None = None) -> Self:
        """Start it with a configuration file that listens at `port`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.place.entered() if self.place else contextlib.nullcontext():
            with (self.directory / "nats.log").open("ab") as log:
                self.process = subprocess.Popen(
                    [self.binary, "-c", str(config)],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **(environment or {})},
                )
            self._until_listening()
        return self

    def _until_listening(self) -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex((self.host, self.port)) == 0:
                    return
            assert self.process is not None
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(
            f"nats-server did not start: {(self.directory / 'nats.log').read_text()[-2000:]}"
        )

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As the kernel would: no goodbye."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)

    def lose_store(self) -> None:
        """Killed, and what it stored is gone."""
        self.kill()
        shutil.rmtree(self.directory / "js")

    def freeze(self) -> None:
        """Gives when every thread of it has stopped: the kernel only promises to."""
        self.signal(signal.SIGSTOP)
        assert self.process is not None
        threads = Path(f"/proc/{self.process.pid}/task")
        until = time.monotonic() + 10
        while any(_state(thread) not in "TZX" for thread in threads.iterdir()):
            assert time.monotonic() < until, "the server does not stop"
            time.sleep(0.001)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.thaw()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
            return
        self.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _state(thread: Path) -> str:
    """One letter (proc_pid_stat(5)): T is stopped."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


class NatsCluster:
    """Three servers that replicate."""

    def __init__(
        self,
        directory: Path,
        hosts: Sequence[str] = ("127.0.0.1",) * 3,
        places: Sequence[Namespace | None] = (None,) * 3,
    ) -> None:
        routes = [free_port() for _ in range(3)]
        known = ", ".join(f'"nats://{host}:{port}"' for host, port in zip(hosts, routes, strict=True))
        self.servers = [
            NatsServer(
                directory / f"n{number}",
                extra=(
                    f'server_name: "n{number}"\n'
                    f'cluster {{ name: "c", listen: "{host}:{port}", routes: [{known}] }}'
                ),
                host=host,
                place=place,
            )
            for number, (host, port, place) in enumerate(zip(hosts, routes, places, strict=True))
        ]

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    def named(self, name: str) -> NatsServer:
        return self.servers[int(name[1:])]

    def at(self, place: str) -> NatsServer:
        """The one at HOST:PORT."""
        return next(server for server in self.servers if place == f"{server.host}:{server.port}")

    def __enter__(self) -> Self:
        for server in self.servers:
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()  # the last ones would wait for peers that are gone


class SeparateCluster(NatsCluster):
    """Each server in a namespace of its own, all on one switch, so that one can be cut off from its peers
    while it still has its clients: those who have entered `clients`."""

    def __init__(self, directory: Path, clients: Namespace, places: Sequence[Namespace]) -> None:
        self.clients = clients
        super().__init__(directory, [f"10.77.0.{number}" for number in range(1, 4)], places)

    def cut_off(self, server: NatsServer) -> None:
        """No packet gets from it to its peers, or from them to it."""
        peers = ",".join(other.host for other in self.servers if other is not server)
        for chain, which in (("INPUT", "-s"), ("OUTPUT", "-d")):
            assert server.place is not None
            server.place.run("iptables", "-A", chain, which, peers, "-j", "DROP")

    def join(self, server: NatsServer) -> None:
        assert server.place is not None
        server.place.run("iptables", "-F")


@contextlib.contextmanager
def separate_cluster(directory: Path) -> Iterator[SeparateCluster]:
    """Not started yet."""
    with contextlib.ExitStack() as stack:
        clients, *places = (stack.enter_context(namespace(name)) for name in ("c", "n0", "n1", "n2"))
        clients.ip("link", "add", "switch", "type", "bridge")
        clients.ip("address", "add", "10.77.0.254/24", "dev", "switch")
        clients.ip("link", "set", "switch", "up")
        for number, place in enumerate(places):
            port = f"port{number}"
            clients.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", place.name)
            clients.ip("link", "set", port, "master", "switch", "up")
            place.ip("address", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
            place.ip("link", "set", "eth0", "up")
        yield SeparateCluster(directory, clients, places)
