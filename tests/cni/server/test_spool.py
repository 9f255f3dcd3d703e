"""The spool: which files are run, in what order, and what becomes of those that cannot be."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from romana_bus.cni import frame, spec
from romana_bus.cni.server import spool as spool_module
from romana_bus.cni.server.spool import ASIDE, Spool
from romana_bus.cni.spec import CniError
from tests.fuzz.hostile_events import GHOST
from tests.fuzz.hostile_frames import frame_of

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.cni.spec import Call

ARGUMENTS = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u1"


def request(command: str, container: str, ifname: str = "eth0", **fields: Any) -> bytes:
    environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": ifname,
                   "CNI_NETNS": "/run/netns/x", "CNI_ARGS": ARGUMENTS}  # fmt: skip
    return frame.packed(environment, json.dumps({"cniVersion": "1.1.0", "name": "pods"} | fields).encode())


def called(command: str, container: str) -> Call:
    return spec.parse(*frame.request(request(command, container)[frame.HEAD :]))


class Runs:
    """Runs calls, and says which; fails with what `fails` says of a container."""

    def __init__(self, directory: Path) -> None:
        self.done: list[tuple[str, str]] = []
        self.fails: dict[str, Exception] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.running: set[str] = set()
        self.directory = directory
        self.spool = Spool(directory, self.do)

    async def do(self, call: Call) -> bytes:
        await self.gate.wait()
        assert call.container not in self.running
        self.running.add(call.container)
        await asyncio.sleep(0)
        self.running.remove(call.container)
        if failure := self.fails.get(call.container):
            raise failure
        self.done.append((call.command, call.container))
        return b"done"

    def put(self, container: str, body: bytes | None = None, ifname: str = "eth0") -> Path:
        file = self.directory / f"{container}:{ifname}"
        file.write_bytes(request("DEL", container, ifname) if body is None else body)
        return file

    @property
    def waiting(self) -> list[str]:
        return sorted(name for name in os.listdir(self.directory) if not name.startswith("."))


@pytest.fixture
async def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "run" / "spool")


async def test_all_that_waits_is_run_and_removed(runs: Runs) -> None:
    for container in ("b", "a", "c"):
        runs.put(container)
    await runs.spool.take_all()
    assert sorted(runs.done) == [("DEL", "a"), ("DEL", "b"), ("DEL", "c")]
    assert runs.waiting == []
    await runs.spool.take_all()
    assert len(runs.done) == 3


async def test_interfaces_of_a_container_are_removed_one_by_one(runs: Runs) -> None:
    """Of two that are removed at once, each would leave the container's request to the other."""
    for ifname in ("eth0", "net1", "net2"):
        runs.put("a", ifname=ifname)
    await runs.spool.take_all()
    assert runs.done == [("DEL", "a")] * 3


async def test_call_that_appears_later_is_run(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "EVERY", 0.01)
    running = asyncio.ensure_future(runs.spool.run())
    try:
        runs.put("a")
        async with asyncio.timeout(20):
            while runs.waiting:
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
    assert runs.done == [("DEL", "a")]


async def test_add_comes_behind_a_del_that_waits(runs: Runs) -> None:
    runs.put("a")
    runs.put("b")
    assert await runs.spool.do(called("ADD", "a")) == b"done"
    assert runs.done == [("DEL", "a"), ("ADD", "a")]
    assert runs.waiting == ["b:eth0"]
    await runs.spool.take_all()
    assert runs.done == [("DEL", "a"), ("ADD", "a"), ("DEL", "b")]


async def test_del_under_way_is_not_run_again_behind_an_add(runs: Runs) -> None:
    runs.put("a")
    runs.gate.clear()
    calls = [asyncio.ensure_future(runs.spool.take_all()) for _ in range(2)]
    await asyncio.sleep(0)
    adding = asyncio.ensure_future(runs.spool.do(called("ADD", "a")))
    for _ in range(10):
        await asyncio.sleep(0)
    runs.gate.set()
    await asyncio.gather(adding, *calls)
    assert runs.done == [("DEL", "a"), ("ADD", "a")]


async def test_other_commands_run_as_they_are(runs: Runs) -> None:
    runs.put("a")
    for command in ("DEL", "STATUS"):
        await runs.spool.do(called(command, "a"))
    assert [command for command, _ in runs.done] == ["DEL", "STATUS"]
    assert runs.waiting == ["a:eth0"]


async def test_failed_call_stays_and_is_told_once(runs: Runs) -> None:
    runs.fails["a"] = CniError(100, "DEL failed in the kernel or on disk", "No space left on device")
    runs.fails["b"] = RuntimeError("a bug")
    for container in ("a", "b", "c"):
        runs.put(container)
    with capture_logs() as logs:
        for _ in range(3):
            await runs.spool.take_all()
    assert sorted(entry["file"] for entry in logs if entry["log_level"] == "error") == ["a:eth0", "b:eth0"]
    assert runs.done == [("DEL", "c")]
    with pytest.raises(CniError, match="No space left"):
        await runs.spool.do(called("ADD", "a"))  # or the DEL would end it
    [warning] = runs.spool.warnings()
    assert "that fail: 2, a:eth0: DEL failed in the kernel or on disk: No space left" in warning
    runs.fails.clear()
    await runs.spool.take_all()
    assert runs.spool.warnings() == []
    assert runs.done == [("DEL", "c"), ("DEL", "a"), ("DEL", "b")]
    assert runs.waiting == []


WHOLE = request("DEL", "a")
BAD = {
    "empty": b"",
    "only a length": WHOLE[:4],
    "truncated": WHOLE[:-1],
    "too long": WHOLE + b"x",
    "no length": WHOLE[4:],
    "wrong length": b"\0\0\0\1" + WHOLE[4:],
    "huge": b"\x7f\xff\xff\xff" + b"x" * 2_000_000,
    "no environment": b"\0\0\0\5abcde",
    "another command": request("ADD", "a"),
    "of everything": request("GC", "a"),
    "another container": request("DEL", "b"),
    "another interface": request("DEL", "a", "eth1"),
    "hostile container": request("DEL", "../../x"),
    "no JSON": frame.packed(
        {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "a", "CNI_IFNAME": "eth0"}, b"{" * 9000
    ),
    "hostile JSON": request("DEL", "a", prevResult=7, mtu="x"),
    "another version": request("DEL", "a", cniVersion="9.9.9"),
    "noise": b"\xff" * 1000,
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_bad_file_is_told_and_set_aside(runs: Runs, name: str) -> None:
    runs.put("a", BAD[name])
    runs.put("b")
    with capture_logs() as logs:
        for _ in range(2):
            await runs.spool.take_all()
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == [
        "not a DEL that romana-cni kept: set aside"
    ]
    assert runs.done == [("DEL", "b")]
    assert runs.waiting == []
    assert (runs.directory / ".aside/a:eth0").read_bytes() == BAD[name]
    await runs.spool.do(called("ADD", "a"))  # it is in nobody's way


@pytest.mark.parametrize("seed", range(3))
async def test_hostile_frames_end_nothing(runs: Runs, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        runs.put(GHOST, frame_of(chance))
        await runs.spool.take_all()
        assert runs.waiting == []
    assert set(runs.done) <= {("DEL", GHOST)}


async def test_what_is_no_file_is_set_aside(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(request("DEL", "link"))
    (runs.directory / "link:eth0").symlink_to(tmp_path / "outside")
    (runs.directory / "dangling:eth0").symlink_to("nowhere")
    (runs.directory / "directory:eth0").mkdir()
    (runs.directory / "directory:eth0" / "x").touch()
    os.mkfifo(runs.directory / "fifo:eth0")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runs.directory / "socket:eth0"))
    (runs.directory / "a\udcff\n\x1b[2J").touch()
    await runs.spool.take_all()
    assert (runs.done, runs.waiting) == ([], [])
    assert len(os.listdir(runs.directory / ".aside")) == 6
    assert (tmp_path / "outside").exists()


async def test_unreadable_file_is_set_aside(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.put("a")

    def refuses(*_: Any) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fstat", refuses)
    await runs.spool.take_all()
    monkeypatch.undo()
    assert runs.waiting == []
    assert os.listdir(runs.directory / ".aside") == ["a:eth0"]


async def test_file_that_cannot_be_read_for_a_moment_stays(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.put("a")

    def refuses(*_: Any) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "fstat", refuses)
    with pytest.raises(CniError, match="Too many open files"):
        await runs.spool.do(called("ADD", "a"))
    await runs.spool.take_all()
    monkeypatch.undo()
    await runs.spool.take_all()
    assert runs.done == [("DEL", "a")]


async def test_number_of_files_set_aside_is_bounded(runs: Runs) -> None:
    for number in range(ASIDE + 20):
        runs.put(f"c{number}", b"")
    await runs.spool.take_all()
    assert runs.waiting == []
    assert len(os.listdir(runs.directory / ".aside")) == ASIDE


async def test_what_cannot_be_set_aside_is_told_once(runs: Runs) -> None:
    (runs.directory / ".aside").write_text("not a directory")
    runs.put("a", b"")
    runs.put("b")
    with capture_logs() as logs:
        for _ in range(3):
            await runs.spool.take_all()
    assert len([entry for entry in logs if entry["log_level"] == "error"]) == 1
    assert runs.done == [("DEL", "b")]


async def test_unfinished_files_are_removed_at_the_start(runs: Runs) -> None:
    for name in (".123.456", ".x"):
        (runs.directory / name).write_bytes(WHOLE[:50])
    runs.put("a")
    Spool(runs.directory, runs.do)
    assert sorted(os.listdir(runs.directory)) == ["a:eth0"]


async def test_directory_that_disappears_is_an_empty_one(runs: Runs) -> None:
    runs.directory.rmdir()
    await runs.spool.take_all()
    await runs.spool.do(called("ADD", "a"))
    assert runs.done == [("ADD", "a")]
