"""The last answer to STATUS: when it is written, and how long a new agent gives that of the one before."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from romana_bus.cni import spec
from romana_bus.cni.server import last_status as module
from romana_bus.cni.server.last_status import LastStatus
from romana_bus.cni.spec import CniError
from romana_bus.tasks import stop
from tests.cni.plugin.executable import last_status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from romana_bus.cni.spec import Call

STATUS = spec.parse({"CNI_COMMAND": "STATUS"}, b'{"cniVersion": "1.1.0", "name": "pods"}')
READY = "ready"


class Agent:
    """Answers STATUS as `said` says, and keeps it until `stop`."""

    def __init__(self, directory: Path, said: str = READY, grace: float = 60.0) -> None:
        self.file, self.said, self.asked = directory / "last-status", said, 0
        self.last = LastStatus(self.file, grace, self.do)

    async def do(self, call: Call) -> bytes:
        del call
        self.asked += 1
        if self.said != READY:
            raise CniError(50, self.said)
        return b""

    async def answers(self) -> str:
        try:
            assert await self.last.do(STATUS) == b""
        except CniError as error:
            return str(error)
        return READY

    def kept(self) -> tuple[int, int, int, bytes]:
        """Exit code, time, how long it counts, and text."""
        try:
            head, _, text = self.file.read_bytes().partition(b"\n")
            code, said, counts = map(int, head.split())
        except (FileNotFoundError, ValueError):
            return -1, 0, 0, b""
        return code, said, counts, text

    async def until(self, code: int, text: str = "") -> None:
        """Runs until that is kept."""
        running = asyncio.ensure_future(self.last.run())
        try:
            async with asyncio.timeout(20):
                while (kept := self.kept())[0] != code or text not in kept[3].decode():
                    await asyncio.sleep(0.005)
        finally:
            await stop(running)


async def looks(agent: Agent, count: int = 4) -> None:
    """Waits until the agent has looked at its answer that many times."""
    asked = agent.asked + count
    async with asyncio.timeout(20):
        while agent.asked < asked:
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.005)


async def test_answer_is_kept_with_its_time(tmp_path: Path) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    agent = Agent(tmp_path, grace=45)
    await agent.until(0)
    code, said, counts, text = agent.kept()
    assert (code, counts, text) == (0, 45_000, b"")
    assert before <= said <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    agent.said = "no block"
    await agent.until(1, "no block")
    assert agent.kept()[3] == b'{"cniVersion":"1.1.0","code":50,"msg":"no block"}\n'
    assert [file.name for file in tmp_path.iterdir()] == ["last-status"]


async def test_same_answer_is_written_again_now_and_then(tmp_path: Path) -> None:
    agent = Agent(tmp_path, grace=0.2)
    await agent.until(0)
    first = agent.kept()[1]
    running = asyncio.ensure_future(agent.last.run())
    async with asyncio.timeout(20):
        while agent.kept()[1] == first:
            await asyncio.sleep(0.01)
    await stop(running)


async def test_new_agent_answers_as_the_one_before_until_it_is_ready(tmp_path: Path) -> None:
    await Agent(tmp_path).until(0)
    kept = (tmp_path / "last-status").read_bytes()
    agent = Agent(tmp_path, "not in sync")
    assert await agent.answers() == READY
    running = asyncio.ensure_future(agent.last.run())
    await looks(agent)
    assert (tmp_path / "last-status").read_bytes() == kept  # or a series of such agents would last forever
    agent.said = READY
    await looks(agent)
    await stop(running)
    agent.said = "no block"
    await agent.until(1)
    assert await agent.answers() == "no block"  # its own word counts at once


OTHERS: dict[str, Callable[[], bytes]] = {
    "expired": lambda: last_status(b"", 60_000, ago=60_000),
    "from before a reboot": lambda: last_status(b"", 60_000, ago=-3_600_000),
    "refused": lambda: last_status(b"no", 60_000, code=1),
    "empty": lambda: b"",
    "words": lambda: b"x y z\n",
    "noise": lambda: b"\xff" * 1000,
}


@pytest.mark.parametrize("name", OTHERS)
async def test_answer_that_does_not_count_for_a_new_agent(tmp_path: Path, name: str) -> None:
    (tmp_path / "last-status").write_bytes(OTHERS[name]())
    agent = Agent(tmp_path, "not in sync")
    assert await agent.answers() == "not in sync"
    await agent.until(1, "not in sync")


async def test_without_grace_nothing_counts(tmp_path: Path) -> None:
    await Agent(tmp_path).until(0)
    agent = Agent(tmp_path, "not in sync", grace=0)
    assert await agent.answers() == "not in sync"
    await agent.until(1)
    assert agent.kept()[2] == 0


async def test_disk_that_takes_nothing_is_told_once(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "missing")
    with capture_logs() as logs:
        running = asyncio.ensure_future(agent.last.run())
        async with asyncio.timeout(20):
            while not logs:
                await asyncio.sleep(0.005)
        await looks(agent)
        assert len(logs) == 1
        (tmp_path / "missing").mkdir()
        async with asyncio.timeout(20):
            while agent.kept()[0] != 0:
                await asyncio.sleep(0.005)
        await stop(running)
