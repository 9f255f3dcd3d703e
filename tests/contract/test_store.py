"""What every store promises, held by the in-memory twin and by a real NATS server alike."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.api import (
    DuplicateId,
    Message,
    Outgoing,
    Position,
    Refused,
    Rewound,
    Store,
    WrongSequence,
)
from romana_bus.bus.memory import MemoryStore
from romana_bus.bus.reading.search import at_time
from romana_bus.events import IPAM, KUBE, NODE, SPEC
from tests.identities import ADMINISTRATOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Stores = Callable[..., AbstractAsyncContextManager[Store]]


def out(subject: str, body: str = "{}", id: str = "", **more: object) -> Outgoing:
    return Outgoing(subject, body.encode(), id, **more)  # type: ignore[arg-type]


def pods(*numbers: int, kind: str = "a") -> list[Outgoing]:
    return [out(f"kube.pod.web.p{number}", f"{kind}{number}", f"{kind}{number}") for number in numbers]


async def read_table(store: Store, role: str, under: str = ">") -> tuple[list[Message], Position]:
    """The newest message of each subject, in the order of the log, and from where to follow the log."""
    table, newest = store.table(role, under), dict[str, Message]()
    async for batch in table:
        for message in batch:
            newest.pop(message.subject, None)
            newest[message.subject] = message
    return list(newest.values()), table.reached


async def table_at(store: Store, role: str, seq: int) -> tuple[list[Message], Position]:
    """The table once the mirror has come as far as `seq`."""
    while True:
        messages, reached = await read_table(store, role)
        if reached.seq >= seq:
            return messages, reached
        await asyncio.sleep(0.01)


async def follow(
    store: Store, role: str, after: Position, count: int, under: str = ">", name: str = "test"
) -> list[Message]:
    wake = asyncio.Event()
    reading = store.follow(role, under, after, wake, name)
    messages: list[Message] = []
    try:
        while len(messages) < count:
            await wake.wait()
            wake.clear()
            messages += reading.take()
    finally:
        await reading.close()
    return messages


async def test_a_batch_lands_whole_behind_the_sequence_it_expects(stores: Stores) -> None:
    async with stores() as store:
        assert await store.batch(KUBE, 0, pods(1, 2, 3)) == 3
        assert await store.batch(KUBE, 3, pods(4)) == 4
        assert (await store.tail(KUBE))[1:] == (1, 4)


async def test_batches_in_flight_land_in_their_order(stores: Stores) -> None:
    async with stores() as store:
        flight = [store.batch(KUBE, start, pods(*range(start, start + 50))) for start in range(0, 500, 50)]
        assert [await answer for answer in flight] == list(range(50, 501, 50))


async def test_a_writer_with_an_old_expectation_stores_nothing(stores: Stores) -> None:
    async with stores() as store, stores() as zombie:
        await store.batch(KUBE, 0, pods(1, 2))
        with pytest.raises(WrongSequence):
            await zombie.batch(KUBE, 1, pods(3))
        assert (await store.tail(KUBE)).last == 2


@pytest.mark.parametrize("size", [1, 20])
async def test_a_batch_with_an_id_that_is_known_stores_nothing_from_there_on(
    stores: Stores, size: int
) -> None:
    async with stores() as store:
        await store.batch(KUBE, 0, pods(1, 2))
        new = pods(*range(3, 3 + size))
        with pytest.raises(DuplicateId):
            await store.batch(KUBE, 2, [*new, *pods(2), *pods(99)])
        last = (await store.tail(KUBE)).last
        assert last <= 2 + size
        with pytest.raises(DuplicateId):
            await store.batch(KUBE, last, [*pods(50), *pods(50), *pods(*range(100, 120))])
        ids = [(await store.get(KUBE, seq)) for seq in range(1, (await store.tail(KUBE)).last + 1)]
        assert len({message.id for message in ids if message}) == len(ids)


async def test_a_batch_of_more_than_a_thousand_is_refused(stores: Stores) -> None:
    async with stores() as store:
        with pytest.raises(Refused, match="too large"):
            await store.batch(KUBE, 0, pods(*range(1001)))
        assert await store.batch(KUBE, 0, pods(*range(1000))) == 1000


async def test_stored_message_keeps_its_headers(stores: Stores) -> None:
    async with stores() as store:
        time = 1_795_418_283_000_001
        sent = out("ipam.leader", '{"ä":1}', "ipam/1/1", cause="KUBE/7", time=time)
        await store.batch(IPAM, 0, [sent])
        stored = await store.get(IPAM, 1)
        assert stored is not None
        assert (stored.seq, stored.subject, stored.body) == (1, "ipam.leader", '{"ä":1}'.encode())
        assert (stored.id, stored.cause, stored.time) == ("ipam/1/1", "KUBE/7", time)
        assert await store.get(IPAM, 2) is None
        [read], _ = await table_at(store, IPAM, 1)
        assert (read.seq, read.body, read.id) == (1, stored.body, "ipam/1/1")


async def test_the_next_message_behind_a_sequence_is_found_across_gaps(stores: Stores) -> None:
    async with stores() as store:
        await store.batch(KUBE, 0, pods(1, 2, 3))
        following = await store.next(KUBE, 1)
        assert following is not None
        assert following.seq == 2
        assert await store.next(KUBE, 3) is None
        assert await store.next(IPAM, 0) is None


async def test_the_table_holds_the_newest_of_each_subject_under_its_own_sequence(stores: Stores) -> None:
    async with stores() as store:
        await store.batch(KUBE, 0, [*pods(1, 2, 3), *pods(2, kind="b")])
        messages, reached = await table_at(store, KUBE, 4)
        assert [(message.seq, message.body) for message in messages] == [
            (1, b"a1"),
            (3, b"a3"),
            (4, b"b2"),
        ]
        assert reached == Position((await store.tail(KUBE)).epoch, 4, "b2")
        newest = await store.newest(KUBE, "kube.pod.web.p2")
        assert newest is not None
        assert newest.seq == 4
        assert await store.newest(KUBE, "kube.pod.web.p9") is None


async def test_the_table_and_then_the_log_leave_no_gap_and_no_overlap(stores: Stores) -> None:
    async with stores() as store:
        await store.batch(KUBE, 0, pods(*range(20)))
        messages, reached = await read_table(store, KUBE)
        later = asyncio.ensure_future(follow(store, KUBE, reached, 40 - reached.seq))
        await store.batch(KUBE, 20, pods(*range(20, 40)))
        seen = [message.seq for message in messages + await later]
        assert seen == list(range(1, 41))


async def test_one_filter_serves_a_reader_of_a_part(stores: Stores) -> None:
    async with stores() as store:
        mixed = [
            out("kube.node.-.n1"),
            out("kube.pod.web.p1"),
            out("kube.pod.db.p1"),
            out("kube.node.-.n2"),
        ]
        await store.batch(KUBE, 0, mixed)
        everything, _ = await table_at(store, KUBE, 4)
        nodes, reached = await read_table(store, KUBE, "kube.node.>")
        assert [message.subject for message in nodes] == ["kube.node.-.n1", "kube.node.-.n2"]
        assert len(everything) == 4
        await store.batch(KUBE, 4, [out("kube.pod.web.p2"), out("kube.node.-.n3")])
        [node] = await follow(store, KUBE, reached, 1, "kube.node.>")
        assert (node.seq, node.subject) == (6, "kube.node.-.n3")


@pytest.mark.parametrize("name", ["agent of n1", "n1.example.org", "a/b", "*", ">", "", "\N{SNOWMAN}"])
async def test_a_reader_may_have_any_name(stores: Stores, name: str) -> None:
    async with stores() as store:
        start = (await store.tail(KUBE)).epoch
        await store.batch(KUBE, 0, pods(1, 2, 3))
        messages = await follow(store, KUBE, Position(start, 0, ""), 3, name=name)
        assert [message.seq for message in messages] == [1, 2, 3]


async def test_a_filter_may_leave_one_token_open(stores: Stores) -> None:
    """As IPAM reads the sandboxes of all nodes, and none of their reports."""
    async with stores(ADMINISTRATOR) as store:
        under, subjects = "node.*.cni.>", ["node.n1.routes", "node.n1.cni.web.a", "node.n2.cni.web.b"]
        for subject in [*subjects, "node.n2.cni"]:
            await store.publish(NODE, out(subject))
        found: list[str] = []
        while len(found) < 2:
            messages, reached = await read_table(store, NODE, under)
            found = [message.subject for message in messages]
        assert found == subjects[1:]
        for subject in ("node.n1.health.web", "node.n3.cni.web.c", "node.n3.routes"):
            await store.publish(NODE, out(subject))
        [later] = await follow(store, NODE, reached, 1, under)
        assert later.subject == "node.n3.cni.web.c"
        newest = await store.newest(NODE, under)
        assert newest is not None
        assert newest.seq == later.seq
        following = await store.next(NODE, reached.seq, under)
        assert following is not None
        assert following.seq == later.seq
        assert await store.next(NODE, later.seq, under) is None


async def test_an_empty_table_is_read_at_once(stores: Stores) -> None:
    async with stores() as store:
        messages, reached = await read_table(store, IPAM)
        assert messages == []
        assert reached.seq == 0


async def test_a_reader_of_fifty_thousand_misses_none(stores: Stores) -> None:
    async with stores() as store:
        start = Position((await store.tail(KUBE)).epoch, 0, "")
        reader = asyncio.ensure_future(follow(store, KUBE, start, 50_000))
        for first in range(0, 50_000, 1000):
            await store.batch(KUBE, first, pods(*range(first, first + 1000)))
        messages = await reader
        assert [message.seq for message in messages] == list(range(1, 50_001))
        assert messages[-1].pending == 0


async def test_a_position_of_another_log_is_refused(stores: Stores) -> None:
    async with stores() as store:
        await store.batch(KUBE, 0, pods(1, 2, 3))
        epoch = (await store.tail(KUBE)).epoch
        for wrong in (Position("another", 1, "a1"), Position(epoch, 9, "a9")):
            with pytest.raises(Rewound):
                await follow(store, KUBE, wrong, 1)


async def test_publish_with_an_old_expected_sequence_is_refused(stores: Stores) -> None:
    async with stores() as store:
        first = await store.publish(SPEC, out("spec.topology", "one"), expected=0)
        with pytest.raises(WrongSequence):
            await store.publish(SPEC, out("spec.topology", "two"), expected=0)
        await store.publish(SPEC, out("spec.reserve.x"), expected=0)
        assert await store.publish(SPEC, out("spec.topology", "two"), expected=first) == 3


async def test_a_known_id_is_stored_once(stores: Stores) -> None:
    async with stores(ADMINISTRATOR) as store:
        first = await store.publish("NODE", out("node.n1.routes", "{}", "report-1"))
        again = await store.publish("NODE", out("node.n1.routes", "{}", "report-1"))
        assert (first, again, (await store.tail("NODE")).last) == (1, 1, 1)


async def test_a_lease_is_held_by_one_and_taken_over_when_given_up(stores: Stores) -> None:
    async with stores() as store, stores() as other:
        mine, theirs = store.lease("ipam", "a"), other.lease("ipam", "b")
        assert await mine.acquire()
        assert not await theirs.acquire()
        assert await mine.renew()
        assert not await theirs.renew()
        await mine.release()
        assert await theirs.acquire()
        assert not await mine.renew()
        assert await other.lease("kube", "b").acquire()


async def test_a_place_in_the_log_is_found_by_time(stores: Stores) -> None:
    async with stores() as store:
        assert await at_time(store, IPAM, 0) == 1
        for at in range(7):
            await store.batch(IPAM, at, [out(f"ipam.address.n.w.p{at}")])
            if isinstance(store, MemoryStore) and at % 3:
                store.advance(1)
        found = [await store.get(IPAM, seq) for seq in range(1, 8)]
        times = [message.stored for message in found if message]
        assert len(times) == 7
        assert times == sorted(times)
        for time in sorted({0, *times, *(at + 1 for at in times)}):
            first = next((seq for seq, at in enumerate(times, 1) if at >= time), len(times) + 1)
            assert await at_time(store, IPAM, time) == first
