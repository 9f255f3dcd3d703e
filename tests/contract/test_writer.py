"""The fenced writer over every store: in order, each once, and never beside another writer."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import re
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.api import (
    DuplicateId,
    Election,
    Fenced,
    Outgoing,
    Position,
    Store,
    Unavailable,
    WrongSequence,
)
from romana_bus.bus.writing.write import FencedWriter
from romana_bus.events import KUBE
from tests.contract.test_store import follow, out, pods

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    Stores = Callable[..., AbstractAsyncContextManager[Store]]


class Lossy:
    """A store whose answers, or requests, get lost: for each batch a draw of what happens to it."""

    def __init__(self, store: Store, draw: Callable[[], str]) -> None:
        self._store, self._draw = store, draw
        self.happened: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def batch(
        self, role: str, expected: int, messages: Sequence[Outgoing], election: Election | None = None
    ) -> Awaitable[int]:
        what = self._draw()
        self.happened.append(what)
        if what == "lost request":
            return _unavailable()
        stored = self._store.batch(role, expected, messages, election)
        return _and_lost(stored) if what == "lost answer" else stored


async def _unavailable() -> int:
    raise Unavailable("lost")


async def _and_lost(stored: Awaitable[int]) -> int:
    await stored
    raise Unavailable("lost")


async def write(store: Store | Lossy, after: int, term: int) -> FencedWriter:
    """A writer whose state contains the log up to `after`."""
    at = await store.get(KUBE, after)
    epoch = (await store.tail(KUBE)).epoch
    return FencedWriter(store, KUBE, Position(epoch, after, at.id if at else ""), term)


async def everything(store: Store) -> list[str]:
    tail = await store.tail(KUBE)
    messages = await follow(store, KUBE, Position(tail.epoch, 0, ""), tail.last)
    return [message.body.decode() for message in messages]


async def test_put_events_are_stored_in_order_and_numbered(stores: Stores) -> None:
    async with stores() as store:
        writer = await write(store, 0, term=3)
        for start in range(0, 3000, 500):
            await writer.put([out("kube.pod.web.p", str(n)) for n in range(start, start + 500)])
        assert await writer.flush() == 3000
        await writer.close()
        assert await everything(store) == [str(n) for n in range(3000)]
        stored = await store.get(KUBE, 1234)
        assert stored is not None
        assert re.fullmatch(r"kube/3-[0-9a-f]{6}/1234", stored.id)


@pytest.mark.parametrize("seed", range(5))
async def test_lost_requests_and_answers_cost_delay_and_nothing_else(stores: Stores, seed: int) -> None:
    chance = random.Random(seed)
    fates = ["fine", "lost answer", "lost request"]
    first = chance.sample(fates, 3)
    draw = lambda: first.pop() if first else chance.choice(fates)  # noqa: E731
    async with stores() as store:
        lossy = Lossy(store, draw)
        writer = await write(lossy, 0, term=1)
        for n in range(300):
            await writer.put([out("kube.pod.web.p", f"{n}", f"id-{n}")])
            if chance.random() < 0.1:
                await asyncio.sleep(0.001)
        await writer.flush()
        await writer.close()
        assert set(lossy.happened) == set(fates)
        assert await everything(store) == [str(n) for n in range(300)]


async def test_a_second_writer_fences_the_first(stores: Stores) -> None:
    async with stores() as store, stores() as other:
        first = await write(store, 0, term=1)
        await first.put(pods(1, 2))
        await first.flush()
        second = await write(other, 2, term=2)
        await second.put(pods(3))
        await second.flush()
        await first.put(pods(4))
        with pytest.raises(Fenced):
            await first.flush()
        with pytest.raises(Fenced):
            await first.put(pods(5))
        await second.put(pods(6))
        assert await second.flush() == 4
        assert await everything(store) == ["a1", "a2", "a3", "a6"]
        await first.close()
        await second.close()


@pytest.mark.parametrize(
    "fates", [("fine", "fine"), ("lost answer", "lost request"), ("lost request", "fine")]
)
async def test_of_two_writers_elected_in_one_term_at_one_place_one_wins(
    stores: Stores, fates: tuple[str, str]
) -> None:
    """Both number their messages alike. The loser has to see that those on the log are not its own."""
    async with stores() as store, stores() as other:
        writers = []
        for one, fate in zip((store, other), fates, strict=True):
            happens = itertools.chain([fate], itertools.repeat("fine"))
            writers.append(await write(Lossy(one, functools.partial(next, happens)), 0, term=1))
        for writer, name in zip(writers, "ab", strict=True):
            await writer.put([out("kube.leader", f"{name}0")])
            await writer.put([out(f"kube.pod.web.p{number}", f"{name}{number}") for number in (1, 2)])
        ends = await asyncio.gather(*(writer.flush() for writer in writers), return_exceptions=True)
        stored = await everything(store)
        winner = "ab".index(stored[0][0])
        assert stored == [f"{'ab'[winner]}{number}" for number in range(3)]
        assert ends[winner] == 3
        assert isinstance(ends[1 - winner], Fenced)
        assert writers[1 - winner].acknowledged == 0
        for writer in writers:
            await writer.close()


async def test_same_event_of_a_successor_is_not_taken_for_an_own_one(stores: Stores) -> None:
    """Facts have ids of their own, whoever tells them. A predecessor that had the same one for the same
    place would else go on as if it had never been replaced, and what it had before that would be lost."""
    async with stores() as store:
        answers = iter(["lost request"])
        first = await write(Lossy(store, lambda: next(answers)), 0, term=1)
        elected, fact = out("kube.leader", "2", "elected"), out("kube.node.-.n", "n", "n/7")
        await store.batch(KUBE, 0, [elected._replace(time=2), fact._replace(time=2)])
        await first.put([message._replace(time=1) for message in (*pods(1), fact)])
        with pytest.raises(Fenced):
            await first.flush()
        await first.close()


async def test_a_writer_that_lost_its_answer_and_was_then_overtaken_is_fenced(stores: Stores) -> None:
    """Its own batch is on the log, but somebody has written behind it: its state is void."""
    async with stores() as store:
        stored = await store.batch(KUBE, 0, pods(1, 2))
        await store.batch(KUBE, stored, pods(3))
        answers = iter(["lost request"])
        writer = await write(Lossy(store, lambda: next(answers)), 0, term=1)
        await writer.put(pods(1, 2))
        with pytest.raises(Fenced):
            await writer.flush()
        await writer.close()


async def test_an_id_that_is_known_from_elsewhere_fences_rather_than_loops(stores: Stores) -> None:
    async with stores() as store:
        await store.batch(KUBE, 0, pods(1))
        writer = await write(store, 1, term=1)
        await writer.put(pods(1))
        with pytest.raises((Fenced, DuplicateId)):
            await asyncio.wait_for(writer.flush(), 20)
        await writer.close()


async def test_batches_sent_ahead_are_not_stored_after_another_election(stores: Stores) -> None:
    """Behind the other one's messages, where the sequence fits by chance."""
    async with stores() as store:
        if store.window == 1:
            return  # nothing is sent ahead on a cluster
        first = await store.batch(KUBE, 0, [out("kube.leader", "a")])
        await store.batch(KUBE, first, [out("kube.leader", "b")])
        for size in (1, 5, 50):
            with pytest.raises(WrongSequence):
                await store.batch(KUBE, 2, pods(*range(size)), Election("kube.leader", first))
        assert await everything(store) == ["a", "b"]


async def elected(store: Store, term: int) -> FencedWriter:
    while True:
        writer = await write(store, (await store.tail(KUBE)).last, term)
        try:
            await writer.elect(out("kube.leader", f"{term}:"))
        except Fenced:
            await writer.close()  # its predecessor was quicker
        else:
            return writer


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_of_a_leader_is_stored_behind_the_election_of_the_next_one(
    stores: Stores, seed: int
) -> None:
    chance = random.Random(seed)
    async with stores() as store, stores() as other:
        leader = ""
        numbers, writers = itertools.count(), []
        for turn in range(8):
            writer = await elected((store, other)[turn % 2], turn)
            for _ in range(chance.randrange(1, 30)):
                named = [f"{turn}:{next(numbers)}" for _ in range(chance.randrange(1, 4))]
                await writer.put([out(f"kube.pod.web.{name[2:]}", name) for name in named])
                await asyncio.sleep(0)
            writers.append(writer)  # the next one is elected while this one still writes
        await writer.flush()
        for body in await everything(store):
            turn_of = body.partition(":")[0]
            if body.endswith(":"):
                leader = turn_of
            assert turn_of == leader, "it was written behind the election of its successor"
        for one in writers:
            await one.close()


async def test_an_election_is_repeated_before_it_leaves_the_log(stores: Stores) -> None:
    async with stores() as store:

        class Short(Lossy):
            history = 0.1

        writer = await write(Short(store, str), 0, term=1)
        await writer.elect(out("kube.leader", "elected"))
        put = 0
        while (await everything(store)).count("elected") < 3:
            await writer.put(pods(put, put + 1))
            put += 2
            await asyncio.sleep(0.01)
        await writer.flush()
        pods_only = [body for body in await everything(store) if body != "elected"]
        assert pods_only == [f"a{number}" for number in range(put)]
        await writer.close()


async def test_the_queue_is_bounded(stores: Stores) -> None:
    async with stores() as store:
        gate = asyncio.Event()

        class Held(Lossy):
            def batch(self, *what: Any) -> Awaitable[int]:
                return self._after(*what)

            async def _after(self, *what: Any) -> int:
                await gate.wait()
                return await self._store.batch(*what)

        writer = await write(Held(store, str), 0, term=1)
        put = 0
        while True:
            try:
                async with asyncio.timeout(0.2):
                    await writer.put(pods(*range(put, put + 1000)))
            except TimeoutError:
                break
            put += 1000
        assert put < 30_000
        gate.set()
        assert await writer.flush() == put
        await writer.close()
