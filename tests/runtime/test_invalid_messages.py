"""How a reader handles invalid messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.api import Message, Outgoing, Position
from romana_bus.bus.memory import MemoryStore
from romana_bus.consumers.ipam import decider
from romana_bus.events import (
    IPAM,
    KUBE,
    NODE,
    ROLES,
    SPEC,
    Event,
    LeaderElected,
    MessagesParked,
    PodSeen,
    codec,
)
from romana_bus.ipam import Settings
from romana_bus.runtime.consumer import Projection
from romana_bus.runtime.feed import Read, outgoing
from romana_bus.runtime.fold import Fold
from romana_bus.runtime.parked import ParkedEntry, ParkedMessages
from romana_bus.runtime.reports import NAMED, ParkedReports
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from romana_bus.bus.api import Store, Table

    Stores = Callable[..., AbstractAsyncContextManager[Store]]

both = pytest.mark.parametrize("stores", ["memory", "nats"], indirect=True)
POD = PodSeen(resource_version="1", uid="u", namespace="web", name="a", node="n1")


def message(subject: str, event: Event, id: str = "") -> Message:
    headers = f"NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n".encode() if id else b""
    return Message(7, subject, codec.encode(event), headers)


@pytest.mark.parametrize("role", [KUBE, SPEC, IPAM, NODE])
@pytest.mark.parametrize("id", ["", "kube/1-abc/6", "u/1", "/7"])
def test_event_under_the_wrong_subject_is_refused(role: str, id: str) -> None:
    """It would change one entity live, and hide another from a reader that boots."""
    flaws = ParkedMessages("test")
    assert flaws.read(message("kube.pod.web.b", POD, id), role) is None
    assert flaws.read(message(POD.subject(), POD, id), role) == POD
    assert [(flaw.role, flaw.subject) for flaw in flaws.kept] == [(role, "kube.pod.web.b")]


@pytest.mark.parametrize("id", ["", "kube/1-abc/6", "ipam/1-abc/7", "u/1", "7"])
def test_only_message_ids_of_leaders_are_accepted(id: str) -> None:
    flaws = ParkedMessages("watch", KUBE)
    assert flaws.read(message(POD.subject(), POD, id), KUBE) is None
    assert flaws.read(message(POD.subject(), POD, "kube/1-abc/7"), KUBE) == POD


def followed() -> Projection[dict[str, Any]]:
    def evolve(state: dict[str, Any], event: Event, _seq: int) -> None:
        state[event.subject()] = event

    async def changed(_: dict[str, Any]) -> None: ...

    return Projection("test", (Read(KUBE),), dict, evolve, changed)


@both
async def test_boot_uses_the_last_valid_message_before_junk(stores: Stores) -> None:
    async with stores() as store:
        await store.publish(KUBE, outgoing(POD, "", 1, 3600))
        for number in range(30):
            await store.publish(KUBE, Outgoing(POD.subject(), b"junk%d" % number))
        for number in range(1200):
            await store.publish(KUBE, Outgoing(f"kube.pod.web.junk-{number}", b"{"))
        fold = Fold(store, followed(), "test")
        await fold.boot()
        await fold.feed.close()
        assert fold.state == {POD.subject(): POD}
        assert len(fold.unusable()) == 1201


async def test_report_contains_the_newest_invalid_message_of_each_stream() -> None:
    flaws = [
        ParkedEntry(role, seq, f"{role}.{seq}", "no") for role in (IPAM, KUBE, SPEC) for seq in range(1, 100)
    ]

    store = MemoryStore()
    await store.prepare(ROLES)
    reports = ParkedReports(store, "test")
    telling = asyncio.create_task(reports.keep_up(lambda: flaws))
    while (said := await store.newest(NODE, "node.-.parked.test")) is None:
        await asyncio.sleep(0.01)
    await stop(telling)
    await reports.close()
    report = codec.decode(said.body)
    assert isinstance(report, MessagesParked)
    assert report.count == len(flaws)
    assert {(one.stream, one.seq) for one in report.parked} == {
        (role, seq) for role in (IPAM, KUBE, SPEC) for seq in range(100 - NAMED, 100)
    }


@both
async def test_foreign_election_raises_no_term(stores: Stores) -> None:
    """Or the next leader's term would be ignored."""
    async with stores() as store:
        event = LeaderElected(stream=IPAM, term=1 << 62, holder="stranger")
        await store.publish(IPAM, outgoing(event, "", 1, 3600))
        fold = Fold(store, decider(Settings()), "test")
        await fold.boot()
        await fold.feed.close()
        assert fold.term == 0


async def test_junk_during_the_table_read_hides_no_valid_message() -> None:
    """It takes the place of a row that was not read yet, and follows behind the table."""
    store = Overtaken()
    await store.prepare(ROLES)
    await store.publish(KUBE, outgoing(POD, "", 1, 3600))
    fold = Fold(store, followed(), "test")
    await fold.boot()
    await fold.feed.close()
    assert fold.state == {POD.subject(): POD}
    assert [flaw.seq for flaw in fold.unusable()] == [2]


class Overtaken(MemoryStore):
    def table(self, role: str, under: str = ">") -> Any:
        return Overtaking(self, super().table(role, under), role)


class Overtaking:
    reached: Position

    def __init__(self, store: MemoryStore, table: Table, role: str) -> None:
        self._store, self._table, self._role = store, table, role

    async def __aiter__(self) -> AsyncIterator[list[Message]]:
        tail = await self._store.tail(self._role)
        await self._store.publish(self._role, Outgoing(POD.subject(), b"junk"))
        async for rows in self._table:
            if left := [row for row in rows if row.seq <= tail.last]:
                yield left
        self.reached = Position(tail.epoch, tail.last, "")


async def test_foreign_message_does_not_set_the_time() -> None:
    """On its own stream a leader goes by what leaders said of the time: ahead of the server's."""
    store = MemoryStore()
    await store.prepare(ROLES)
    before = store.clock.now()
    year = 365 * 86_400_000_000
    await store.publish(IPAM, Outgoing("ipam.map.host.n1", b"junk", time=before + year))
    fold = Fold(store, decider(Settings()), "test")
    await fold.boot()
    await fold.feed.close()
    assert store.clock.now() < before + year
