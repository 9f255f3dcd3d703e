"""What the log does not know yet: on disk, in order, and never in the way of what is newer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.api import Outgoing, Unavailable
from romana_bus.bus.memory import MemoryStore
from romana_bus.cni.server import logged_requests
from romana_bus.cni.server.journal import Journal
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.threads import Threads
from romana_bus.events import NODE, SandboxEvent, SandboxRemoved, SandboxRequested, codec
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


#: Longer than a test.
LATER = 3600.0


def wish(sandbox: str, name: str = "web", uid: str = "u1") -> SandboxRequested:
    return SandboxRequested(node="n1", namespace="ns", name=name, uid=uid, sandbox=sandbox)


def end(sandbox: str, name: str = "web", uid: str = "u1") -> SandboxRemoved:
    return SandboxRemoved(node="n1", namespace="ns", name=name, uid=uid, sandbox=sandbox)


def waiting(journal: Journal) -> list[SandboxEvent]:
    return [entry.event for entry in journal.waiting()]


def test_it_is_there_after_a_restart_in_its_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    events = [end("a", "one"), end("b", "two"), wish("c", "three")]
    for event in events:
        journal.put(event)
    assert waiting(Journal(tmp_path)) == waiting(journal) == events
    journal.drop(journal.waiting()[0])
    assert waiting(Journal(tmp_path)) == events[1:]
    Journal(tmp_path).put(end("d", "four"))
    assert waiting(Journal(tmp_path)) == [*events[1:], end("d", "four")]


def test_the_newest_word_about_a_pod_replaces_an_older_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for event in (wish("a"), end("a"), wish("b")):
        journal.put(event)
        journal.put(event)
        assert waiting(journal) == waiting(Journal(tmp_path)) == [event]
    assert len(list(tmp_path.iterdir())) == 1


def test_ends_of_one_name_are_one(tmp_path: Path) -> None:
    """A runtime may remove a pod's sandboxes of a hundred tries."""
    journal = Journal(tmp_path)
    journal.put(end("a"))
    files = list(tmp_path.iterdir())
    for event in (end("a"), end("b"), end("b", uid="u2")):
        journal.put(event)
        journal.keep_in_memory(event)
        assert waiting(journal) == waiting(Journal(tmp_path)) == [end("a")]
    assert list(tmp_path.iterdir()) == files


def test_what_is_no_entry_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "0000000000000007.json").write_text("{")
    (tmp_path / "note.json").write_bytes(codec.encode(end("a")))
    (tmp_path / "0000000000000008.new").write_text("half")
    journal = Journal(tmp_path)
    assert waiting(journal) == []
    journal.put(end("a"))
    assert waiting(Journal(tmp_path)) == [end("a")]
    assert (tmp_path / "0000000000000007.json").read_text() == "{"


# --- to the log -----------------------------------------------------------------------------------------


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


async def test_events_are_stored_once_and_in_order_though_answers_are_lost(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    store.lose = 3
    async with going(store, journal) as outbox:
        for event in (wish("a"), wish("b", "other"), wish("c", "third")):
            await outbox.put(event)
        await empty(journal)
        store.lose = 3
        await outbox.put(end("b", "other"))
        await empty(journal)
    assert store.history_of() == [wish("a"), wish("b", "other"), wish("c", "third"), end("b", "other")]


async def test_what_says_nothing_new_is_not_stored(tmp_path: Path) -> None:
    """IPAM goes by name and uid, not by sandboxes; and what was not asked for has no end."""
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        for event in (end("z"), wish("a"), wish("b"), wish("b", uid="u2"), end("a"), end("b")):
            await outbox.put(event)
            await outbox.stored(event)
    assert store.history_of() == [wish("a"), wish("b", uid="u2"), end("a")]


async def test_an_end_that_is_held_back_is_replaced_by_the_next_request(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        await outbox.put(wish("a"))
        await empty(journal)
        for number in range(10):
            await outbox.put(end(f"a{number}"), LATER)
            await outbox.put(end(f"b{number}"))  # it stays so
            await outbox.put(wish("c", f"pod-{number}"))  # and holds up nobody
            await outbox.stored(wish("c", f"pod-{number}"))
            assert waiting(journal) == [end(f"a{number}")]
            await outbox.put(wish(f"c{number}"))
            await empty(journal)
        await outbox.put(end("a", "pod-1"), LATER)
        await outbox.put(wish("b", "pod-1", "u2"))  # of another pod, it is news
        await empty(journal)
    others = [wish("c", f"pod-{number}") for number in range(10)]
    assert store.history_of() == [wish("a"), *others, wish("b", "pod-1", "u2")]


async def test_an_end_that_is_held_back_is_told_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a restart, of which it does not know how long that took."""
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        for name in ("one", "two"):
            await outbox.put(wish("a", name))
            await outbox.stored(wish("a", name))
        await outbox.put(end("a", "two"), LATER)
        await outbox.put(end("a", "one"), 0.01)
        await outbox.stored(end("a", "one"))
        assert waiting(journal) == [end("a", "two")]
    journal = Journal(tmp_path)
    async with going(store, journal) as outbox:
        await outbox.requests()
        await outbox.put(wish("b", "other"))
        await outbox.stored(wish("b", "other"))
        assert waiting(journal) == [end("a", "two")]
    monkeypatch.setattr(Outbox, "hold_down", 0.01)
    journal = Journal(tmp_path)
    async with going(store, journal):
        await empty(journal)
    asked = [wish("a", "one"), wish("a", "two")]
    assert store.history_of() == [*asked, end("a", "one"), wish("b", "other"), end("a", "two")]


async def test_an_end_is_not_told_for_an_answer_that_was_lost(tmp_path: Path) -> None:
    """The log has the request, and nobody here knows."""
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        await outbox.requests()
        store.lose = 1
        await outbox.put(wish("a"))
        while not store.history_of():
            await asyncio.sleep(0)
        store.out = True
        await outbox.put(end("a"), LATER)
        store.out = False
        await outbox.put(end("b", "other"))
        await outbox.stored(end("b", "other"))
        assert waiting(journal) == [end("a")]
    assert store.history_of() == [wish("a")]


async def test_it_knows_what_the_log_has(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        assert outbox.may_have_request("node.n1.cni.ns.web")  # nothing was read yet
        assert await outbox.requests() == []
        assert not outbox.may_have_request("node.n1.cni.ns.web")
        for event in (wish("a"), wish("a", "other")):
            await outbox.put(event)
            assert outbox.may_have_request(event.subject())
            await outbox.stored(event)
        await outbox.put(end("a"))
        assert outbox.may_have_request("node.n1.cni.ns.web")
        await empty(journal)
        assert not outbox.may_have_request("node.n1.cni.ns.web")
        assert outbox.request_of("node.n1.cni.ns.other") == wish("a", "other")
        store.rewind(NODE, 1)  # another connection, behind which is an older log
        assert outbox.may_have_request("node.n1.cni.ns.web")
        assert await outbox.requests() == [wish("a")]
        assert not outbox.may_have_request("node.n1.cni.ns.other")
    async with going(store, Journal(tmp_path)) as outbox:
        assert await outbox.requests() == [wish("a")]


async def test_a_sandbox_that_is_wished_for_again_ends_again(tmp_path: Path) -> None:
    """The same words as before, and a server that knows their ids."""
    store, journal = Flaky(), Journal(tmp_path)
    events = [wish("a"), end("a"), wish("a"), end("a")]
    async with going(store, journal) as outbox:
        for event in events:
            await outbox.put(event)
            await outbox.stored(event)
    assert store.history_of() == events


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored has stood for long."""
    monkeypatch.setattr(logged_requests, "GRACE", 0.0)


@pytest.mark.usefixtures("settled")
async def test_whether_the_request_has_stood_all_the_time_is_told(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        assert not await outbox.put(wish("a"))
        await empty(journal)
        assert await outbox.put(wish("b"))
        assert not await outbox.put(wish("b", uid="u2"))
        await empty(journal)
        store.out = True
        await outbox.put(end("b"))
        assert await outbox.put(wish("c", uid="u2"))  # the log never hears of that end
        store.out = False
        await empty(journal)
        assert len(store.history_of()) == 2
        store.lose = 1
        await outbox.put(end("c"))
        while len(store.history_of()) < 3:
            await asyncio.sleep(0.001)
        store.out = True  # it is on the log, and nobody here knows
        assert not await outbox.put(wish("d", uid="u2"))


async def test_a_request_that_was_stored_a_moment_ago_has_not_stood_all_the_time(tmp_path: Path) -> None:
    """An end before it may have been heard, and the decision that followed is on its way."""
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        for event in (wish("a"), end("a"), wish("b")):
            await outbox.put(event)
            await outbox.stored(event)
        assert not await outbox.put(wish("c"))


async def test_who_is_cancelled_while_it_is_written_loses_nothing(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        store.out = True
        for number in range(20):
            task = asyncio.create_task(outbox.put(wish("a", f"pod-{number}")))
            await asyncio.sleep(0)
            task.cancel()
            await outbox.put(end("a", f"pod-{number}"))
        assert waiting(Journal(tmp_path)) == [end("a", f"pod-{number}") for number in range(20)]


class Gated(Flaky):
    """What is newest is told when the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.asked = asyncio.Event(), asyncio.Event()

    async def newest(self, role: str, subject: str) -> Any:
        found = await super().newest(role, subject)
        self.asked.set()
        await self.gate.wait()
        return found


@pytest.mark.usefixtures("settled")
async def test_an_end_that_was_replaced_in_time_never_reaches_the_log(tmp_path: Path) -> None:
    """Its sender looked up what is newest when it was replaced."""
    store, journal = Gated(), Journal(tmp_path)
    store.gate.set()
    async with going(store, journal) as outbox:
        await outbox.put(wish("a"))
        await empty(journal)
        store.gate.clear()
        store.asked.clear()
        await outbox.put(end("a"))
        await store.asked.wait()
        stands = await outbox.put(wish("b"))
        store.gate.set()
        await empty(journal)
    assert stands
    assert store.history_of() == [wish("a")]


@pytest.mark.usefixtures("settled")
async def test_what_the_log_may_have_heard_is_not_forgotten_with_the_next(tmp_path: Path) -> None:
    store, journal = Flaky(), Journal(tmp_path)
    async with going(store, journal) as outbox:
        await outbox.put(wish("a"))
        await empty(journal)
        store.lose = 1
        await outbox.put(end("a"))
        while len(store.history_of()) < 2:
            await asyncio.sleep(0)
        store.out = True  # nobody here knows that the log has it
        await outbox.put(wish("z", "other"))
        for event in (wish("b"), end("b"), wish("c")):
            assert not await outbox.put(event)
    journal = Journal(tmp_path)
    async with going(store, journal) as outbox:  # nor after a restart
        assert not await outbox.put(wish("d"))


# --- a disk that takes nothing --------------------------------------------------------------------------


def test_what_is_in_memory_alone_is_refused_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    away = (tmp_path / "journal").rename(tmp_path / "away")  # nothing can be written, also not by root
    for _ in range(2):
        with pytest.raises(OSError, match="No such file"):
            journal.put(end("a"))
        journal.keep_in_memory(end("a"))
    away.rename(tmp_path / "journal")
    journal.put(end("a"))
    assert waiting(Journal(tmp_path / "journal")) == [end("a")]


def test_what_is_held_leaves_no_file_of_what_it_replaced(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put(wish("a"))
    journal.keep_in_memory(end("a"))
    for entry in journal.waiting():
        journal.drop(entry)
    assert waiting(Journal(tmp_path)) == []


async def test_what_is_held_back_needs_no_disk_where_the_log_has_its_request(tmp_path: Path) -> None:
    """Which no sandbox has after a restart: that is told."""
    store, journal = Flaky(), Journal(tmp_path / "journal")
    async with going(store, journal) as outbox:
        await outbox.put(wish("a"))
        await empty(journal)
        (tmp_path / "journal").rename(tmp_path / "away")
        await outbox.put(end("a"), LATER)
        assert waiting(journal) == [end("a")]
        await outbox.put(wish("b"))  # the log has it, for all that it hears
        assert waiting(journal) == []
        await outbox.put(end("b"))  # told at once, as nothing else keeps it
    assert store.history_of() == [wish("a"), end("b")]


async def test_who_waits_for_a_full_disk_holds_up_nobody(tmp_path: Path) -> None:
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
