"""When a sandbox without a link is released: at the second look, and never beside a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.cni.link import attach, check
from romana_bus.cni.server.attachments import Attachment, Attachments
from romana_bus.cni.server.commands import Commands, Node
from romana_bus.cni.server.journal import Journal
from romana_bus.cni.server.missing_links import CONFIRM, MissingLinks
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.threads import Threads
from romana_bus.cni.spec import Attached, Pod
from romana_bus.consumers.pod_addresses import OwnAddresses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE = Attachment(
    network="pods", attached=Attached("one", "eth0"), netns="/n", pod=Pod("d", "p"), addresses=("10.0.0.1",)
)


class Kernel:
    """Where the namespaces of `lost` are gone."""

    def __init__(self, directory: Path, threads: Threads) -> None:
        self.lost: set[str] = {ONE.netns}
        self.attachments = Attachments(directory / "attachments")
        self.attachments.put(ONE)
        node = Node("n1", 0, 10.0, lambda: True, lambda: None, lambda: None, str, str, list)
        outbox = Outbox("n1", Journal(directory / "journal"), threads)
        self.commands = Commands(node, self.attachments, outbox, OwnAddresses(), threads)
        self.links = MissingLinks(self.commands, threads)

    async def look(self, now: float, *missing: Attachment) -> bool:
        """Returns whether the attachment is still there."""
        assert await self.links.look([*missing], now) == []
        return [*self.attachments] == [ONE]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    threads = Threads()
    made = Kernel(tmp_path, threads)
    monkeypatch.setattr(check, "is_lost", lambda _, netns, __: netns in made.lost)
    monkeypatch.setattr(attach, "detach", lambda _: None)
    yield made
    threads.close()


async def test_sandbox_is_released_at_a_later_look(kernel: Kernel) -> None:
    assert await kernel.look(100.0, ONE)
    assert kernel.links.doubted
    assert await kernel.look(100.0 + CONFIRM - 0.1, ONE)
    assert not await kernel.look(100.0 + CONFIRM, ONE)
    assert not kernel.links.doubted


async def test_sandbox_that_is_there_again_is_doubted_anew(kernel: Kernel) -> None:
    assert await kernel.look(100.0, ONE)
    assert await kernel.look(105.0)  # its link is there
    assert not kernel.links.doubted
    assert await kernel.look(100.0 + CONFIRM, ONE)
    kernel.lost.clear()  # its namespace is there
    assert await kernel.look(100.0 + 2 * CONFIRM, ONE)
    kernel.lost.add(ONE.netns)
    assert await kernel.look(100.0 + 3 * CONFIRM, ONE)
    assert not await kernel.look(100.0 + 4 * CONFIRM, ONE)


async def test_sandbox_is_left_to_a_running_call(kernel: Kernel) -> None:
    assert await kernel.look(100.0, ONE)
    async with kernel.commands.locks.alone("one"):
        assert await kernel.look(100.0 + CONFIRM, ONE)
        assert not await kernel.commands.release(ONE)
    assert await kernel.look(100.0 + CONFIRM, ONE)  # the call may have changed something: from the start
    assert not await kernel.look(100.0 + 2 * CONFIRM, ONE)


async def test_sandbox_that_was_attached_again_is_not_released(kernel: Kernel) -> None:
    again = Attachment(
        network="pods", attached=ONE.attached, netns="/n", pod=ONE.pod, addresses=("10.0.0.2",)
    )
    kernel.attachments.put(again)
    assert not await kernel.commands.release(ONE)
    assert [*kernel.attachments] == [again]


async def test_what_cannot_be_stored_is_told_and_tried_again(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    assert await kernel.look(100.0, ONE)
    with monkeypatch.context() as patched:
        patched.setattr(attach, "detach", full)
        (text,) = await kernel.links.look([ONE], 100.0 + CONFIRM)
    assert "sandbox one of pod d/p cannot be released" in text
    assert "No space left" in text
    assert kernel.links.doubted
    assert not await kernel.look(101.0 + CONFIRM, ONE)
