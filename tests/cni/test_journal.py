"""What the log does not know yet: on disk, in order, and never in the way of what is newer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import codec
from romana_bus.bus.api import Outgoing, Unavailable
from romana_bus.bus.memory import MemoryStore
from romana_bus.cni.journal import Journal
from romana_bus.cni.outbox import Outbox
from romana_bus.cni.threads import Threads
from romana_bus.events import NODE, SandboxEvent, SandboxRemoved, SandboxRequested
from romana_bus.tasks import stop
from tests.conftest import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def wish(sandbox: str, name: str = "web") -> SandboxRequested:
    return SandboxRequested(node="n1", namespace="ns", name=name, uid="u1", sandbox=sandbox)


def end(sandbox: str, name: str = "web") -> SandboxRemoved:
    return SandboxRemoved(node="n1", namespace="ns", name=name, uid="u1", sandbox=sandbox)


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


def test_the_end_of_a_sandbox_does_not_replace_the_wish_of_its_successor(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put(wish("b"))
    journal.put(end("a"))
    assert waiting(journal) == [wish("b")]
    journal.put(end("b"))
    assert waiting(journal) == [end("b")]


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
    outbox = Outbox(journal, threads)
    task = asyncio.create_task(outbox.run(store))
    try:
        yield outbox
    finally:
        await stop(task)
        threads.close()


async def empty(journal: Journal) -> None:
    while journal.waiting():
        await asyncio.sleep(0.01)


def test_events_are_stored_once_and_in_order_though_answers_are_lost(tmp_path: Path) -> None:
    async def test() -> None:
        store, journal = Flaky(), Journal(tmp_path)
        store.lose = 3
        async with going(store, journal) as outbox:
            for event in (wish("a"), end("b", "other"), end("c", "third")):
                await outbox.put(event)
            await empty(journal)
        assert store.history_of() == [wish("a"), end("b", "other"), end("c", "third")]

    run(test())


@pytest.mark.parametrize("late", [False, True])
def test_an_end_is_not_stored_behind_the_wish_of_a_newer_sandbox(tmp_path: Path, late: bool) -> None:
    async def test() -> None:
        store, journal = Flaky(), Journal(tmp_path)
        async with going(store, journal) as outbox:
            await outbox.put(wish("a"))
            await empty(journal)
            store.out = not late
            for event in (wish("b"), end("a")) if late else (end("a"), wish("b")):
                await outbox.put(event)
            store.out = False
            await empty(journal)
            assert store.history_of()[-1] == wish("b")
            await outbox.put(end("a"))
            await empty(journal)
        assert store.history_of() == [wish("a"), wish("b")]

    run(test())


def test_a_sandbox_that_is_wished_for_again_ends_again(tmp_path: Path) -> None:
    """The same words as before, and a server that knows their ids."""

    async def test() -> None:
        store, journal = Flaky(), Journal(tmp_path)
        events = [wish("a"), end("a"), wish("a"), end("a")]
        async with going(store, journal) as outbox:
            for event in events:
                await outbox.put(event)
                await outbox.stored(event)
        assert store.history_of() == events

    run(test())


def test_what_the_log_never_heard_of_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        store, journal = Flaky(), Journal(tmp_path)
        async with going(store, journal) as outbox:
            await outbox.put(wish("a"))
            await empty(journal)
            store.out = True
            assert await outbox.put(end("a")) is None
            assert await outbox.put(wish("b")) == end("a")
            store.out = False
            await empty(journal)
            store.lose, store.out = 1, False
            await outbox.put(end("b"))
            while len(store.history_of()) < 3:
                await asyncio.sleep(0.001)
            store.out = True  # it is on the log, and nobody here knows
            if journal.waiting():
                assert await outbox.put(wish("c")) is None

    run(test())


def test_who_is_cancelled_while_it_is_written_loses_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        store, journal = Flaky(), Journal(tmp_path)
        async with going(store, journal) as outbox:
            store.out = True
            for number in range(20):
                task = asyncio.create_task(outbox.put(wish("a", f"pod-{number}")))
                await asyncio.sleep(0)
                task.cancel()
                await outbox.put(end("a", f"pod-{number}"))
            assert waiting(Journal(tmp_path)) == [end("a", f"pod-{number}") for number in range(20)]

    run(test())


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


def test_what_was_given_back_as_unheard_never_reaches_the_log(tmp_path: Path) -> None:
    """Its sender looked up what is newest when it was replaced."""

    async def test() -> None:
        store, journal = Gated(), Journal(tmp_path)
        async with going(store, journal) as outbox:
            await outbox.put(end("a"))
            await store.asked.wait()
            unheard = await outbox.put(wish("b"))
            store.gate.set()
            await empty(journal)
        assert unheard == end("a")
        assert store.history_of() == [wish("b")]

    run(test())


def test_what_the_log_may_have_heard_is_not_forgotten_with_the_next(tmp_path: Path) -> None:
    async def test() -> None:
        store, journal = Flaky(), Journal(tmp_path)
        async with going(store, journal) as outbox:
            store.lose = 1
            await outbox.put(end("a"))
            await outbox.put(end("z", "other"))
            while not store.history_of():
                await asyncio.sleep(0)
            store.out = True  # nobody here knows that the log has it
            for event in (wish("b"), end("b"), wish("c")):
                assert await outbox.put(event) is None
        journal = Journal(tmp_path)
        async with going(store, journal) as outbox:  # nor after a restart
            assert await outbox.put(end("c")) is None

    run(test())


def test_an_end_that_is_said_again_was_heard(tmp_path: Path) -> None:
    async def test() -> None:
        store, journal = Flaky(), Journal(tmp_path)
        async with going(store, journal) as outbox:
            await outbox.put(end("a"))
            await empty(journal)
            store.out = True
            await outbox.put(end("a"))
            assert await outbox.put(wish("b")) is None

    run(test())


# --- a disk that takes nothing --------------------------------------------------------------------------


def test_what_is_in_memory_alone_is_refused_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    away = (tmp_path / "journal").rename(tmp_path / "away")  # nothing can be written, also not by root
    for _ in range(2):
        with pytest.raises(OSError, match="No such file"):
            journal.put(end("a"))
        journal.hold(end("a"))
    away.rename(tmp_path / "journal")
    journal.put(end("a"))
    assert waiting(Journal(tmp_path / "journal")) == [end("a")]


def test_a_wish_in_memory_alone_is_written_where_the_end_before_it_comes(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.hold(wish("b"))
    journal.put(end("a"))
    assert waiting(Journal(tmp_path)) == [wish("b")]


def test_what_is_held_leaves_no_file_of_what_it_replaced(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put(wish("a"))
    journal.hold(end("a"))
    for entry in journal.waiting():
        journal.drop(entry)
    assert waiting(Journal(tmp_path)) == []


def test_a_wish_whose_file_could_not_be_removed_does_not_come_back(tmp_path: Path) -> None:
    async def test() -> None:
        store = Flaky()
        journal = Journal(tmp_path)
        async with going(store, journal) as outbox:
            for event in (wish("a"), end("a")):
                await outbox.put(event)
                await empty(journal)
        (tmp_path / "0000000000000001.json").write_bytes(codec.encode(wish("a")))
        journal = Journal(tmp_path)
        async with going(store, journal) as outbox:
            await empty(journal)
            assert store.history_of() == [wish("a"), end("a")]
            await outbox.put(wish("a"))  # said again, it counts
            await empty(journal)
        assert store.history_of() == [wish("a"), end("a"), wish("a")]

    run(test())


def test_who_waits_for_a_full_disk_holds_up_nobody(tmp_path: Path) -> None:
    async def test() -> None:
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

    run(test())
