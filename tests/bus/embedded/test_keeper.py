"""The keeper and very many users, users that say nothing, and no descriptor for one more."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.auth.directory import ensure
from romana_bus.bus.auth.permissions import UP
from romana_bus.bus.embedded import keeper
from romana_bus.bus.embedded.client import server_binary
from tests.bus.embedded.test_shared_server import end, servers, until_gone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    end(tmp_path / "state")


@pytest.fixture
def descriptors() -> Iterator[int]:
    """As many as there may be, for this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = min(hard, 1 << 14)
    resource.setrlimit(resource.RLIMIT_NOFILE, (many, hard))
    yield many
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def start(state: Path, *limits: str) -> int:
    """Gives the keeper's process."""
    command = [sys.executable, "-I", "-m", "romana_bus.bus.embedded.keeper", str(state), server_binary()]
    state.mkdir(exist_ok=True)
    ensure(state / "auth", "default", [UP])
    with (state / "keeper.err").open("wb") as words:
        subprocess.run(["prlimit", *limits, *command], stdout=subprocess.PIPE, stderr=words, check=True)
    with user(state) as first:
        return int(struct.unpack("3i", first.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def user(state: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(state / "keeper.sock"))
    made.settimeout(60)
    return made


def reply(one: socket.socket) -> dict[str, Any]:
    with one.makefile("rb") as lines:
        return dict(json.loads(lines.readline()))


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_thousands_of_silent_users(state: Path, descriptors: int) -> None:
    many = min(3000, descriptors - 200)
    if many < 1100:
        pytest.skip("select() itself has descriptors for all of them here")
    pid = start(state)
    with contextlib.ExitStack() as users:
        silent = [users.enter_context(user(state)) for _ in range(many)]
        assert reply(silent[-1])["url"].startswith("nats://127.0.0.1:")
        [server] = servers(state)
        os.kill(server, signal.SIGKILL)
        until(lambda: servers(state) not in ([], [server]), "another server")
        until(lambda: open_files(pid) > many, "all are let in")
    until_gone(state)


def test_more_users_than_the_limit(state: Path) -> None:
    start(state, "--nofile=96:96")
    limit = 96 - keeper.RESERVED
    with contextlib.ExitStack() as users:
        inside = [users.enter_context(user(state)) for _ in range(limit)]
        assert all("url" in reply(one) for one in inside)
        for _ in range(3):
            with user(state) as late:
                assert reply(late) == {
                    "error": f"{limit} processes use the embedded server, the most it can have"
                }
        inside[0].close()

        def is_let_in() -> bool:
            with user(state) as next_one:
                return "url" in reply(next_one)

        until(is_let_in, "room for one more")
        [server] = servers(state)
        os.kill(server, signal.SIGKILL)
        until(lambda: servers(state) not in ([], [server]), "another server, with all users there")
    until_gone(state)


def test_no_file_descriptor_left(state: Path) -> None:
    """It asks again and again, and is there when there is one."""
    pid = start(state)
    with user(state) as first:
        reply(first)
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, limits[1]))
        with user(state) as second:
            before = rests(pid)
            until(lambda: rests(pid) > before + 5, "it has tried, and has waited")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            assert "url" in reply(second)
    until_gone(state)


def rests(pid: int) -> int:
    """How often the process has waited for something."""
    with open(f"/proc/{pid}/status") as file:
        return int(file.read().partition("voluntary_ctxt_switches:")[2].split()[0])


def test_users_that_disconnect_early(state: Path) -> None:
    pid = start(state)
    with user(state) as stays:
        reply(stays)
        before = open_files(pid)
        for _ in range(100):
            with user(state):
                pass  # gone before it is let in
            half = user(state)
            half.shutdown(socket.SHUT_WR)
            half.close()
        with user(state) as talks:
            talks.sendall(b"hello\n" * 10_000)
            assert "url" in reply(talks)
        until(lambda: open_files(pid) <= before, "all of them are gone again")
        with user(state) as another:
            assert reply(another)["url"]
    until_gone(state)
