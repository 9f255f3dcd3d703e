"""Requests and ends of sandboxes, and an outbox that writes them to a log whose answers are lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from romana_bus.bus.api import Outgoing, Unavailable
from romana_bus.bus.memory import MemoryStore
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.threads import Threads
from romana_bus.events import NODE, SandboxEvent, SandboxRemoved, SandboxRequested, codec
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from romana_bus.cni.server.journal import Journal


#: Longer than a test.
LATER = 3600.0


def request(sandbox: str, name: str = "web", uid: str = "u1") -> SandboxRequested:
    return SandboxRequested(node="n1", namespace="ns", name=name, uid=uid, sandbox=sandbox)


def end(sandbox: str, name: str = "web", uid: str = "u1") -> SandboxRemoved:
    return SandboxRemoved(node="n1", namespace="ns", name=name, uid=uid, sandbox=sandbox)


def waiting(journal: Journal) -> list[SandboxEvent]:
    return [entry.event for entry in journal.waiting()]


class Flaky(MemoryStore):
    """Answers are lost: what was asked for has happened or not."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.lose = False, 0

    async def newest(self, role: str, subject: str) -> Any:
        if self.out:
            raise Unavailable("out of reach")
        return await super().newest(role, subject)

    async def publish(self, role: str, message: Outgoing, expected: int | None = None) -> int:
        stored = await super().publish(role, message, expected)
        if self.lose:
            self.lose -= 1
            raise Unavailable("no answer")
        return stored

    def history_of(self, role: str = NODE) -> list[Any]:
        return [codec.decode(message.body) for message in self._stream(role).log.values()]


@contextlib.asynccontextmanager
async def going(store: Flaky, journal: Journal) -> AsyncIterator[Outbox]:
    await store.prepare([NODE])
    threads = Threads()
    outbox = Outbox("n1", journal, threads)
    task = asyncio.create_task(outbox.run(store))
    try:
        yield outbox
    finally:
        await stop(task)
        threads.close()


async def empty(journal: Journal) -> None:
    while journal.waiting():
        await asyncio.sleep(0.01)
