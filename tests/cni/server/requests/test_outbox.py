"""From the journal to the log: stored once and in order, and an end that is held back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from romana_bus.cni.server.journal import Journal
from romana_bus.cni.server.outbox import Outbox
from romana_bus.events import NODE
from tests.cni.server.requests.outboxes import LATER, Flaky, empty, end, going, request, waiting

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_events_are_stored_once_and_in_order_though_answers_are_lost(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    store.lose = 3
    async with going(store, journal) as outbox:
        for event in (request("a"), request("b", "other"), request("c", "third")):
            await outbox.put(event)
        await empty(journal)
        store.lose = 3
        await outbox.put(end("b", "other"))
        await empty(journal)
    assert store.history_of() == [
        request("a"),
        request("b", "other"),
        request("c", "third"),
        end("b", "other"),
    ]


async def test_repeated_event_is_not_stored(tmp_path: Path) -> None:
    """IPAM goes by name and uid, not by sandboxes; and what was not asked for has no end."""
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        for event in (end("z"), request("a"), request("b"), request("b", uid="u2"), end("a"), end("b")):
            await outbox.put(event)
            await outbox.stored(event)
    assert store.history_of() == [request("a"), request("b", uid="u2"), end("a")]


async def test_delayed_removal_is_replaced_by_the_next_request(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        await outbox.put(request("a"))
        await empty(journal)
        for number in range(10):
            await outbox.put(end(f"a{number}"), LATER)
            await outbox.put(end(f"b{number}"))  # it stays so
            await outbox.put(request("c", f"pod-{number}"))  # and holds up nobody
            await outbox.stored(request("c", f"pod-{number}"))
            assert waiting(journal) == [end(f"a{number}")]
            await outbox.put(request(f"c{number}"))
            await empty(journal)
        await outbox.put(end("a", "pod-1"), LATER)
        await outbox.put(request("b", "pod-1", "u2"))  # of another pod, it is news
        await empty(journal)
    others = [request("c", f"pod-{number}") for number in range(10)]
    assert store.history_of() == [request("a"), *others, request("b", "pod-1", "u2")]


async def test_delayed_removal_is_published_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a restart, of which it does not know how long that took."""
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        for name in ("one", "two"):
            await outbox.put(request("a", name))
            await outbox.stored(request("a", name))
        await outbox.put(end("a", "two"), LATER)
        await outbox.put(end("a", "one"), 0.01)
        await outbox.stored(end("a", "one"))
        assert waiting(journal) == [end("a", "two")]
    journal = Journal(tmp_path)
    async with going(store, journal) as outbox:
        await outbox.requests()
        await outbox.put(request("b", "other"))
        await outbox.stored(request("b", "other"))
        assert waiting(journal) == [end("a", "two")]
    monkeypatch.setattr(Outbox, "hold_down", 0.01)
    journal = Journal(tmp_path)
    async with going(store, journal):
        await empty(journal)
    asked = [request("a", "one"), request("a", "two")]
    assert store.history_of() == [*asked, end("a", "one"), request("b", "other"), end("a", "two")]


async def test_removal_is_not_published_while_the_request_is_unacknowledged(tmp_path: Path) -> None:
    """The log has the request, and the agent does not know it."""
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        await outbox.requests()
        store.lose = 1
        await outbox.put(request("a"))
        while not store.history_of():
            await asyncio.sleep(0)
        store.out = True
        await outbox.put(end("a"), LATER)
        store.out = False
        await outbox.put(end("b", "other"))
        await outbox.stored(end("b", "other"))
        assert waiting(journal) == [end("a")]
    assert store.history_of() == [request("a")]


async def test_outbox_knows_the_newest_event_on_the_log(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        assert outbox.may_have_request("node.n1.cni.ns.web")  # nothing was read yet
        assert await outbox.requests() == []
        assert not outbox.may_have_request("node.n1.cni.ns.web")
        for event in (request("a"), request("a", "other")):
            await outbox.put(event)
            assert outbox.may_have_request(event.subject())
            await outbox.stored(event)
        await outbox.put(end("a"))
        assert outbox.may_have_request("node.n1.cni.ns.web")
        await empty(journal)
        assert not outbox.may_have_request("node.n1.cni.ns.web")
        assert outbox.request_of("node.n1.cni.ns.other") == request("a", "other")
        store.rewind(NODE, 1)  # another connection, behind which is an older log
        assert outbox.may_have_request("node.n1.cni.ns.web")
        assert await outbox.requests() == [request("a")]
        assert not outbox.may_have_request("node.n1.cni.ns.other")
    async with going(store, Journal(tmp_path)) as outbox:
        assert await outbox.requests() == [request("a")]


async def test_sandbox_that_is_requested_again_is_removed_again(tmp_path: Path) -> None:
    """The same words as before, and a server that knows their ids."""
    store, journal = Flaky(), Journal(tmp_path)
    events = [request("a"), end("a"), request("a"), end("a")]
    async with going(store, journal) as outbox:
        for event in events:
            await outbox.put(event)
            await outbox.stored(event)
    assert store.history_of() == events


async def test_cancelled_put_loses_nothing(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        store.out = True
        for number in range(20):
            task = asyncio.create_task(outbox.put(request("a", f"pod-{number}")))
            await asyncio.sleep(0)
            task.cancel()
            await outbox.put(end("a", f"pod-{number}"))
        assert waiting(Journal(tmp_path)) == [end("a", f"pod-{number}") for number in range(20)]


async def test_delayed_removal_needs_no_disk_when_the_request_is_on_the_log(tmp_path: Path) -> None:
    """After a restart no sandbox has that request: its removal is published."""
    store, journal = Flaky(), Journal(tmp_path / "journal")
    async with going(store, journal) as outbox:
        await outbox.put(request("a"))
        await empty(journal)
        (tmp_path / "journal").rename(tmp_path / "away")
        await outbox.put(end("a"), LATER)
        assert waiting(journal) == [end("a")]
        await outbox.put(request("b"))  # the log has it, for all that it hears
        assert waiting(journal) == []
        await outbox.put(end("b"))  # told at once, as nothing else keeps it
    assert store.history_of() == [request("a"), end("b")]


async def test_put_waiting_for_a_full_disk_delays_no_other(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path / "journal")
    store.out = True
    async with going(store, journal) as outbox:
        away = (tmp_path / "journal").rename(tmp_path / "away")
        waits = asyncio.create_task(outbox.put(end("a")))
        while not journal.waiting():
            await asyncio.sleep(0.001)
        away.rename(tmp_path / "journal")
        await outbox.put(end("b", "other"))
        assert not waits.done()
        await outbox.put(end("a"))  # there is room now: that ends the waiting, too
        await waits
    assert end("a") in waiting(Journal(tmp_path / "journal"))
