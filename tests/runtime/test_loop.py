"""The loop, with a decider so small that everything it does can be seen: every pod gets a number."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.api import Message, Outgoing, Position, Store
from romana_bus.bus.memory import MemoryStore
from romana_bus.events import (
    IPAM,
    KUBE,
    NODE,
    ROLES,
    AddressAssigned,
    Applied,
    ApplyFailed,
    Event,
    LeaderElected,
    PodAddress,
    PodGone,
    PodSeen,
    codec,
)
from romana_bus.runtime.consumer import Decider, Projection, Reconciler
from romana_bus.runtime.feed import Feed, Read, outgoing
from romana_bus.runtime.loop import run_decider, run_projection
from romana_bus.runtime.parked import ParkedMessages
from romana_bus.runtime.reconcile import run_reconciler
from tests.contract.test_store import table_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager

    Stores = Callable[[], AbstractAsyncContextManager[Store]]

both = pytest.mark.parametrize("stores", ["memory", "nats"], indirect=True)


@dataclass
class Numbers:
    pods: dict[str, int] = field(default_factory=dict)  # name -> sequence of its fact
    given: dict[str, int] = field(default_factory=dict)
    now: int = 0


def number_of(event: AddressAssigned) -> int:
    return int(event.addresses[0].address.rpartition(".")[2])


def evolve(state: Numbers, event: Event, seq: int) -> None:
    match event:
        case PodSeen():
            state.pods[event.name] = seq
        case PodGone():
            state.pods.pop(event.name, None)
        case AddressAssigned():
            state.given[event.name] = number_of(event)


def decide(state: Numbers) -> Iterator[list[tuple[Event, str]]]:
    while part := decide_some(state):
        yield part


def decide_some(state: Numbers) -> list[tuple[Event, str]]:
    decided: list[tuple[Event, str]] = []
    for name in sorted(state.pods.keys() - state.given.keys())[:7]:
        number = max(state.given.values(), default=0) + 1
        address = PodAddress(address=f"10.0.0.{number}", network="n", block="10.0.0.0/24")
        event = AddressAssigned(
            namespace="web", name=name, uid="u", node="n", tenant="web", addresses=(address,)
        )
        evolve(state, event, 0)
        decided.append((event, f"{KUBE}/{state.pods[name]}"))
    return decided


NUMBERS: Decider[Numbers] = Decider(
    name="numbers",
    writes=IPAM,
    reads=(Read(KUBE, "kube.pod.>"), Read(IPAM)),
    initial=Numbers,
    evolve=evolve,
    tick=lambda state, now: setattr(state, "now", now),
    decide=decide,
    wake=lambda state: None,
)


def seen(name: str, version: int = 1) -> Outgoing:
    event = PodSeen(resource_version=str(version), uid=f"u-{name}", namespace="web", name=name)
    return outgoing(event, "", 1, 3600)


async def say(store: Store, messages: Iterable[Outgoing]) -> None:
    await store.batch(KUBE, (await store.tail(KUBE)).last, list(messages))


async def everything(store: Store, role: str) -> list[Message]:
    """The whole log of a role."""
    messages: list[Message] = []
    wake, tail = asyncio.Event(), await store.tail(role)
    reading = store.follow(role, ">", Position(tail.epoch, 0, ""), wake, "test")
    while not messages or messages[-1].seq < tail.last:
        await wake.wait()
        wake.clear()
        messages += reading.take()
    await reading.close()
    return messages


async def events(store: Store, role: str = IPAM) -> list[Any]:
    return [codec.decode(message.body) for message in await everything(store, role)]


async def until_last(store: Store, role: str, seq: int) -> None:
    while (await store.tail(role)).last < seq:
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    try:
        yield tasks
        for task in tasks:
            assert not task.done() or task.cancelled(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@both
async def test_it_decides_on_what_was_there_and_on_what_comes_and_names_the_cause(stores: Stores) -> None:
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


async def elections(store: Store) -> list[str]:
    return [event.holder for event in await events(store) if isinstance(event, LeaderElected)]


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
async def test_what_nobody_understands_is_parked_and_the_rest_goes_on(stores: Stores) -> None:
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


class World:
    """An outside that can fail."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.failing: list[str] = []
        self.looks: list[bool] = []
        self.slow = 0.0

    async def observe(self, state: Numbers, full: bool) -> set[str]:
        self.looks.append(full)
        await asyncio.sleep(self.slow if full else 0)
        return set(self.there)

    def has(self, count: int) -> bool:
        return len(self.there) == count

    async def apply(self, delta: tuple[set[str], set[str]]) -> int:
        if self.failing:
            raise OSError(self.failing.pop())
        add, remove = delta
        self.there = (self.there | add) - remove
        return len(add) + len(remove)


def plan(state: Numbers, actual: set[str]) -> tuple[set[str], set[str]] | None:
    add, remove = state.pods.keys() - actual, actual - state.pods.keys()
    return (add, remove) if add or remove else None


def reconciler(world: World, tick: float = 60.0) -> Reconciler[Numbers]:
    return Reconciler(
        name="world",
        node="n1",
        reads=(Read(KUBE, "kube.pod.>"),),
        initial=Numbers,
        evolve=evolve,
        observe=world.observe,
        plan=plan,
        apply=world.apply,
        standing=lambda state: {"pods": len(state.pods)},
        tick=tick,
    )


@both
async def test_a_reconciler_makes_the_world_as_the_log_wants_it_and_says_what_it_covers(
    stores: Stores,
) -> None:
    async with stores() as store:
        world = World()
        world.there = {"leftover"}
        await say(store, [seen("a"), seen("b")])
        await table_at(store, KUBE, 2)
        async with running(run_reconciler(store, reconciler(world))):
            await until_last(store, NODE, 1)
            assert world.there == {"a", "b"}
            gone = PodGone(resource_version="9", uid="u-a", namespace="web", name="a")
            await say(store, [outgoing(gone, "", 1, 3600)])
            await until_last(store, NODE, 2)
            assert world.there == {"b"}
        first, second = [event for event in await events(store, NODE) if isinstance(event, Applied)][:2]
        assert (first.node, first.consumer, first.covers, first.changes) == ("n1", "world", {KUBE: 2}, 3)
        assert (second.covers, second.changes) == ({KUBE: 3}, 1)


@both
async def test_a_failed_effect_is_reported_and_tried_again(stores: Stores) -> None:
    async with stores() as store:
        world = World()
        world.failing = ["no buffer space", "no buffer space"]
        await say(store, [seen("a")])
        await table_at(store, KUBE, 1)
        async with running(run_reconciler(store, reconciler(world))):
            await until_last(store, NODE, 3)
        reports = await events(store, NODE)
        assert [type(one) for one in reports[:3]] == [ApplyFailed, ApplyFailed, Applied]
        assert isinstance(reports[1], ApplyFailed)
        assert (reports[1].error, reports[1].attempt) == ("no buffer space", 2)
        assert world.there == {"a"}


async def test_a_reconciler_looks_again_without_cause() -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    world = World()
    await say(store, [seen("a")])
    async with running(run_reconciler(store, reconciler(world, tick=0.02))):
        await until_last(store, NODE, 1)
        world.there.clear()  # somebody was there
        while world.there != {"a"}:
            await asyncio.sleep(0.005)
