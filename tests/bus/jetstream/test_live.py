"""Following by republished messages: what is lost is noticed and read from the log, wherever it was lost; and
the server holds no consumer for it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.api import Outgoing, Position, Rewound
from romana_bus.bus.jetstream import live, pull
from romana_bus.bus.jetstream.live import Live
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.bus.writing.write import FencedWriter
from romana_bus.events import IPAM
from tests.conftest import opener
from tests.contract.test_store import table_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from romana_bus.bus.api import Message, Store
    from tests.servers import NatsCluster, NatsServer

_clusters = itertools.count(1)

#: What an agent of node n1 reads, and a whole stream.
READ = ("ipam.map.>", "ipam.address.n1.>", ">")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK", 0.05)


@contextlib.asynccontextmanager
async def both(url: str, other: str = "", **layout: Any) -> AsyncIterator[tuple[Store, Store]]:
    """The store of one cluster twice: as a leader opens it, and, at the server `other`, as an agent does."""
    layout["cluster"] = f"live{next(_clusters)}"
    async with opener([url], **layout)() as writing, opener([other or url], live=True, **layout)() as reading:
        yield writing, reading


class Leader:
    """Writes IPAM as its leader does, with heartbeats all the time."""

    def __init__(self, writer: FencedWriter) -> None:
        self.writer, self.written = writer, list[str]()
        self._beating = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            self.writer.beat(0)
            await asyncio.sleep(0.02)

    async def write(self, *subjects: str) -> None:
        await self.writer.put([Outgoing(subject, b"{}") for subject in subjects])
        await self.writer.flush()
        self.written += subjects

    async def rounds(self, count: int) -> None:
        for number in range(count):
            await self.write(
                f"ipam.map.block.n2.{number}",
                f"ipam.address.n1.web.p{number}",
                f"ipam.address.n2.web.p{number}",
            )

    async def close(self) -> None:
        self._beating.cancel()
        await self.writer.close()


@contextlib.asynccontextmanager
async def leading(store: Store) -> AsyncIterator[Leader]:
    tail = await store.tail(IPAM)
    newest = await store.get(IPAM, tail.last)
    writer = FencedWriter(store, IPAM, Position(tail.epoch, tail.last, newest.id if newest else ""), 1)
    await writer.elect(Outgoing("ipam.leader", b"{}"))
    leader = Leader(writer)
    try:
        yield leader
    finally:
        await leader.close()


class Reader:
    """Follows one filter as an agent does."""

    def __init__(self, store: Store, under: str, after: Position) -> None:
        self.under, self.wake, self.subjects = under, asyncio.Event(), list[str]()
        self.last = after.seq
        reading = store.follow(IPAM, under, after, self.wake, "agent")
        assert isinstance(reading, Live)
        self.reading = reading

    def take(self) -> list[Message]:
        messages = self.reading.take()
        for message in messages:
            assert message.seq > self.last  # each once, in order
            self.last = message.seq
            self.subjects.append(message.subject)
        return messages

    async def has(self, written: list[str]) -> None:
        wanted = [s for s in written if self.under == ">" or s.startswith(self.under.removesuffix(">"))]
        while [s for s in self.subjects if s != "ipam.leader"] != wanted:
            await self.wake.wait()
            self.wake.clear()
            self.take()


async def all_have(readers: list[Reader], written: list[str]) -> None:
    for reader in readers:
        await reader.has(written)


@contextlib.asynccontextmanager
async def reading(store: Store) -> AsyncIterator[list[Reader]]:
    tail = await store.tail(IPAM)
    newest = await store.get(IPAM, tail.last)
    after = Position(tail.epoch, tail.last, newest.id if newest else "")
    readers = [Reader(store, under, after) for under in READ]
    try:
        yield readers
    finally:
        for reader in readers:
            await reader.reading.close()


def losing(store: Store, which: Callable[[int, bytes], bool]) -> None:
    """Drop what is said to this client: `which(number, subject)`."""
    assert isinstance(store, JetStream)
    numbers = iter(range(1 << 30))
    for sid, sink in list(store.wire.sinks.items()):

        def lossy(subject: bytes, *rest: bytes, sink: object = sink) -> None:
            said = b".live." in subject or b".alive." in subject
            if not (said and which(next(numbers), subject)):
                sink(subject, *rest)  # type: ignore[operator]

        store.wire.sinks[sid] = lossy


@pytest.mark.parametrize("nth", [2, 3, 7])
async def test_every_nth_live_message_is_lost(nats_server: NatsServer, nth: int) -> None:
    """Heartbeats as well."""
    async with (
        both(nats_server.url) as (writing, store),
        leading(writing) as leader,
        reading(store) as readers,
    ):
        await leader.rounds(1)
        await all_have(readers, leader.written)
        losing(store, lambda number, _: number % nth == 0)
        await leader.rounds(50)
        await all_have(readers, leader.written)


async def test_the_last_message_is_lost(nats_server: NatsServer) -> None:
    """A heartbeat names it: the leader's for what all read, one of its own for what one node reads."""
    async with (
        both(nats_server.url) as (writing, store),
        leading(writing) as leader,
        reading(store) as readers,
    ):
        await leader.rounds(1)
        await all_have(readers, leader.written)
        losing(store, lambda _, subject: b".live." in subject)
        await leader.rounds(1)
        await all_have(readers, leader.written)


async def test_nothing_is_heard_of_a_leader(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then who follows asks now and then."""
    monkeypatch.setattr(live, "VERIFY", 0.05)
    async with (
        both(nats_server.url) as (writing, store),
        leading(writing) as leader,
        reading(store) as readers,
    ):
        losing(store, lambda *_: True)
        await leader.rounds(3)
        while store.end(IPAM) < leader.writer.acknowledged:
            await store.tail(IPAM)  # as the probe does
        await all_have(readers, leader.written)


async def test_messages_of_another_writer_are_read_too(nats_server: NatsServer) -> None:
    """Without a chain: of a person, or of an older version."""
    async with both(nats_server.url) as (_, store), reading(store) as readers:
        written = [f"ipam.address.n1.web.p{number}" for number in range(20)]
        for subject in written:
            await store.publish(IPAM, Outgoing(subject, b"{}"))
        await all_have(readers, written)


async def test_server_is_killed_and_comes_back(own_server: NatsServer) -> None:
    async with (
        both(own_server.url) as (writing, store),
        leading(writing) as leader,
        reading(store) as readers,
    ):
        for _ in range(3):
            await leader.rounds(2)
            own_server.kill()
            own_server.start()
            await leader.rounds(2)
            await all_have(readers, leader.written)


@pytest.mark.cluster
@pytest.mark.within(120)
async def test_readers_on_another_server_than_the_writer(nats_cluster: NatsCluster) -> None:
    first, second = nats_cluster.urls[:2]
    async with (
        both(first, second, replicas=3) as (writing, store),
        leading(writing) as leader,
        reading(store) as readers,
    ):
        await leader.rounds(20)
        await all_have(readers, leader.written)
        losing(store, lambda number, _: number % 3 == 0)
        await leader.rounds(20)
        await all_have(readers, leader.written)


async def test_another_leader_goes_on(nats_server: NatsServer) -> None:
    """It does not know what its predecessor wrote last for each node."""
    async with both(nats_server.url) as (writing, store):
        written: list[str] = []
        async with reading(store) as readers:
            for _ in range(3):
                async with leading(writing) as leader:
                    await leader.rounds(3)
                    written += leader.written
            await all_have(readers, written)


async def test_emptied_store_is_noticed_by_the_heartbeat(nats_server: NatsServer) -> None:
    async with both(nats_server.url) as (writing, store):
        assert isinstance(writing, JetStream)
        async with reading(store) as readers:
            async with leading(writing) as leader:
                await leader.rounds(1)
                await all_have(readers, leader.written)
            for stream in (writing.layout.table(IPAM), writing.layout.stream(IPAM)):
                await writing.api(f"STREAM.DELETE.{stream}")
            await writing.prepare([IPAM])
            async with leading(writing) as leader:
                await leader.rounds(3)
                for reader in readers:
                    with pytest.raises(Rewound):
                        await reader.has(["never"])


async def test_no_consumer_stays_at_the_server(nats_server: NatsServer) -> None:
    async with both(nats_server.url) as (writing, store):
        assert isinstance(store, JetStream)
        async with leading(writing) as leader:
            await leader.rounds(5)
            async with reading(store) as readers:
                assert len((await table_at(store, IPAM, 16))[0]) == 16
                await leader.rounds(5)
                await all_have(readers, leader.written[15:])
                for stream in (store.layout.stream(IPAM), store.layout.table(IPAM)):
                    answer = await store.api(f"STREAM.INFO.{stream}")
                    assert answer["state"]["consumer_count"] == 0


async def test_reader_that_takes_nothing_holds_a_bounded_number(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, number in ((live, "KEPT", 20), (pull, "AHEAD", 20), (pull, "ASK", 10)):
        monkeypatch.setattr(module, name, number)
    async with (
        both(nats_server.url) as (writing, store),
        leading(writing) as leader,
        reading(store) as readers,
    ):
        await leader.rounds(60)
        most = max(reader.reading.lag for reader in readers)
        await all_have(readers, leader.written)
        assert most <= 3 * 20
