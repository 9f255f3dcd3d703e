"""The loop of a decider and of a projection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from romana_bus.bus.api import Message, Outgoing
from romana_bus.bus.memory import MemoryStore
from romana_bus.events import (
    IPAM,
    KUBE,
    ROLES,
    AddressAssigned,
    LeaderElected,
    codec,
)
from romana_bus.runtime.consumer import Projection
from romana_bus.runtime.feed import Feed, Read
from romana_bus.runtime.loop import run_decider, run_projection
from romana_bus.runtime.parked import ParkedMessages
from tests.contract.test_store import table_at
from tests.runtime.small_consumers import (
    NUMBERS,
    Numbers,
    both,
    elections,
    events,
    everything,
    evolve,
    number_of,
    running,
    say,
    seen,
    until_last,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from tests.runtime.small_consumers import Stores


@both
async def test_decider_handles_stored_and_new_events_with_their_cause(stores: Stores) -> None:
    async with stores() as store:
        await say(store, [seen("b"), seen("a")])
        async with running(run_decider(store, NUMBERS, "me")):
            await until_last(store, IPAM, 3)
            await say(store, [seen("c")])
            await until_last(store, IPAM, 4)
        leader, *given = await everything(store, IPAM)
        assert codec.decode(leader.body) == LeaderElected(stream=IPAM, term=1, holder="me")
        assert [(message.subject, message.cause) for message in given] == [
            ("ipam.address.n.web.a", "KUBE/2"),
            ("ipam.address.n.web.b", "KUBE/1"),
            ("ipam.address.n.web.c", "KUBE/3"),
        ]
        assert [message.id.split("/")[2] for message in given] == ["2", "3", "4"]


@both
async def test_a_successor_goes_on_in_the_next_term_and_repeats_nothing(stores: Stores) -> None:
    async with stores() as store:
        await say(store, [seen(f"p{n}") for n in range(20)])
        async with running(run_decider(store, NUMBERS, "first")):
            await until_last(store, IPAM, 21)
        await table_at(store, IPAM, 21)
        async with running(run_decider(store, NUMBERS, "second")):
            await until_last(store, IPAM, 22)
            await say(store, [seen("late")])
            await until_last(store, IPAM, 23)
        elected = [event for event in await events(store) if isinstance(event, LeaderElected)]
        assert [(event.term, event.holder) for event in elected] == [(1, "first"), (2, "second")]
        given = [event for event in await events(store) if isinstance(event, AddressAssigned)]
        assert sorted(number_of(event) for event in given) == list(range(1, 22))


@both
async def test_two_that_both_believe_they_lead_never_give_one_number_twice(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is made to lie to both. The fence alone keeps the numbers apart."""

    class Liar:
        async def acquire(self) -> bool:
            return True

        renew = acquire

        async def release(self) -> None: ...

    async with stores() as store, stores() as other:
        for one in {id(store): store, id(other): other}.values():
            monkeypatch.setattr(one, "lease", lambda *_: Liar())
        async with running(run_decider(store, NUMBERS, "a"), run_decider(other, NUMBERS, "b")):
            for step in range(40):
                await say(store, [seen(f"p{step}-{n}") for n in range(5)])
                await asyncio.sleep(0.02)
                # Who was fenced comes back: where nothing happens, as the leader. Then both decide again.
                while len(await elections(store)) <= step // 10:
                    await asyncio.sleep(0.02)
            while True:
                given = [e for e in await events(store) if isinstance(e, AddressAssigned)]
                if len({event.name for event in given}) == 200:
                    break
                await asyncio.sleep(0.05)
        numbers = [event.addresses[0].address for event in given]
        assert len(numbers) == len(set(numbers)) == 200
        elected = await elections(store)
        assert len(elected) > 2  # they did fight
        assert {"a", "b"} == set(elected)


@both
async def test_a_leader_that_stops_stores_what_it_decided_and_frees_the_lease(stores: Stores) -> None:
    async with stores() as store:
        await say(store, [seen(f"p{n}") for n in range(300)])
        async with running(run_decider(store, NUMBERS, "first")):
            await until_last(store, IPAM, 2)
        stored = [e for e in await events(store) if isinstance(e, AddressAssigned)]
        assert len({event.name for event in stored}) == len(stored) > 0
        assert await store.lease("ipam", "second").acquire()


async def test_an_emptied_log_is_followed_from_its_new_beginning() -> None:

    async def prepared(store: MemoryStore) -> bool:
        return {KUBE, IPAM} <= store._streams.keys()

    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, [seen("a"), seen("b")])
    async with running(run_decider(store, NUMBERS, "me")):
        await until_last(store, IPAM, 3)
        store.empty(KUBE)
        store.empty(IPAM)
        while not await prepared(store):
            await asyncio.sleep(0.01)
        await say(store, [seen("new")])
        store.advance(3)
        await until_last(store, IPAM, 2)
    assert [event.name for event in await events(store) if isinstance(event, AddressAssigned)] == ["new"]


async def test_the_sequence_guard_drops_what_was_taken_before() -> None:

    async def _booted(feed: Feed) -> AsyncIterator[tuple[str, list[Message]]]:
        async for batch in feed.boot():
            yield batch

    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, [seen("a"), seen("b"), seen("c")])
    feed = Feed(store, [Read(KUBE)], "test", ParkedMessages("test"))
    assert [m.seq async for _, batch in _booted(feed) for m in batch] == [1, 2, 3]
    again = await store.get(KUBE, 2)
    assert again is not None
    for reading in store._readers:
        reading.offer(KUBE, again)
    await say(store, [seen("d")])
    [(role, messages)] = feed.take()
    assert (role, [message.seq for message in messages]) == (KUBE, [4])
    for reading in store._readers:
        reading.offer(KUBE, again)
    assert feed.take() == []
    await feed.close()


@both
async def test_undecodable_message_is_parked(stores: Stores) -> None:
    async with stores() as store:
        strange = [
            Outgoing("kube.pod.web.x", b'{"type":"PodTeleported","to":"mars"}', "x"),
            Outgoing("kube.pod.web.y", b"\xff\xfe", "y"),
            Outgoing("kube.pod.web.z", b'{"type":"PodSeen","name":5}', "z"),
        ]
        await say(store, [*strange, seen("fine")])
        async with running(run_decider(store, NUMBERS, "me")):
            await until_last(store, IPAM, 2)
        assert [e.name for e in await events(store) if isinstance(e, AddressAssigned)] == ["fine"]


@both
async def test_a_projection_sees_every_change(stores: Stores) -> None:
    async with stores() as store:
        await say(store, [seen("a")])
        sizes: asyncio.Queue[int] = asyncio.Queue()

        async def changed(state: Numbers) -> None:
            sizes.put_nowait(len(state.pods))

        view = Projection("view", (Read(KUBE, "kube.pod.>"),), Numbers, evolve, changed)
        async with running(run_projection(store, view)):
            await say(store, [seen("b")])
            while await sizes.get() < 2:
                pass
            await say(store, [seen("c"), seen("d")])
            while await sizes.get() < 4:
                pass
