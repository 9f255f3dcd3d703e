"""Whether the request of a pod has stood on the log all the time, when its next sandbox is requested."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.cni.server import logged_requests
from romana_bus.cni.server.journal import Journal
from tests.cni.server.requests.outboxes import Flaky, empty, end, going, request

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored has stood for long."""
    monkeypatch.setattr(logged_requests, "GRACE", 0.0)


@pytest.mark.usefixtures("settled")
async def test_put_returns_whether_the_request_stood_without_interruption(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        assert not await outbox.put(request("a"))
        await empty(journal)
        assert await outbox.put(request("b"))
        assert not await outbox.put(request("b", uid="u2"))
        await empty(journal)
        store.out = True
        await outbox.put(end("b"))
        assert await outbox.put(request("c", uid="u2"))  # the log never hears of that end
        store.out = False
        await empty(journal)
        assert len(store.history_of()) == 2
        store.lose = 1
        await outbox.put(end("c"))
        while len(store.history_of()) < 3:
            await asyncio.sleep(0.001)
        store.out = True  # it is on the log, and nobody here knows
        assert not await outbox.put(request("d", uid="u2"))


async def test_a_request_that_was_stored_a_moment_ago_has_not_stood_all_the_time(tmp_path: Path) -> None:
    """An end before it may have been heard, and the decision that followed is on its way."""
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        for event in (request("a"), end("a"), request("b")):
            await outbox.put(event)
            await outbox.stored(event)
        assert not await outbox.put(request("c"))


class Gated(Flaky):
    """Only the newest event is published once the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.asked = asyncio.Event(), asyncio.Event()

    async def newest(self, role: str, subject: str) -> Any:
        found = await super().newest(role, subject)
        self.asked.set()
        await self.gate.wait()
        return found


@pytest.mark.usefixtures("settled")
async def test_removal_replaced_in_time_never_reaches_the_log(tmp_path: Path) -> None:
    """Its sender looked up what is newest when it was replaced."""
    store, journal = Gated(), Journal(tmp_path)
    store.gate.set()
    async with going(store, journal) as outbox:
        await outbox.put(request("a"))
        await empty(journal)
        store.gate.clear()
        store.asked.clear()
        await outbox.put(end("a"))
        await store.asked.wait()
        stands = await outbox.put(request("b"))
        store.gate.set()
        await empty(journal)
    assert stands
    assert store.history_of() == [request("a")]


@pytest.mark.usefixtures("settled")
async def test_unacknowledged_removal_is_remembered_with_later_events(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        await outbox.put(request("a"))
        await empty(journal)
        store.lose = 1
        await outbox.put(end("a"))
        while len(store.history_of()) < 2:
            await asyncio.sleep(0)
        store.out = True  # nobody here knows that the log has it
        await outbox.put(request("z", "other"))
        for event in (request("b"), end("b"), request("c")):
            assert not await outbox.put(event)
    journal = Journal(tmp_path)
    async with going(store, journal) as outbox:  # nor after a restart
        assert not await outbox.put(request("d"))
