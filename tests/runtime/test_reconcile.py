"""The reconciler: what it applies, when it syncs, what causes a resync, and how seldom it reports."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.memory import MemoryStore
from romana_bus.events import KUBE, NODE, ROLES, Applied, ApplyFailed, PodGone
from romana_bus.runtime import alive, reports
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.reconcile import run_reconciler
from tests.contract.test_store import table_at
from tests.identities import ADMINISTRATOR
from tests.runtime.small_consumers import (
    Numbers,
    World,
    both,
    events,
    reconciler,
    running,
    say,
    seen,
    until_last,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.bus.api import Outgoing
    from tests.runtime.small_consumers import Stores


async def fresh() -> MemoryStore:
    store = MemoryStore()
    await store.prepare(ROLES)
    return store


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def gone(name: str) -> Outgoing:
    return outgoing(PodGone(resource_version="9", uid=f"u-{name}", namespace="web", name=name), "", 1, 3600)


@both
async def test_reconciler_applies_the_desired_state_and_reports_its_coverage(
    stores: Stores,
) -> None:
    async with stores(ADMINISTRATOR) as store:
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
    async with stores(ADMINISTRATOR) as store:
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


async def test_reconciler_resyncs_periodically() -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    world = World()
    await say(store, [seen("a")])
    async with running(run_reconciler(store, reconciler(world, tick=0.02))):
        await until_last(store, NODE, 1)
        world.there.clear()  # somebody was there
        while world.there != {"a"}:
            await asyncio.sleep(0.005)


async def test_events_are_applied_without_a_full_sync() -> None:
    store, world = await fresh(), World()
    async with running(run_reconciler(store, reconciler(world))):
        await until(lambda: world.looks == [True])
        await say(store, [seen("a")])
        await until(lambda: world.there == {"a"})
        await say(store, [seen("b")])
        await until(lambda: world.there == {"a", "b"})
        assert world.looks == [True, False, False]


async def test_work_names_the_event_that_led_to_it_and_nothing_where_none_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reports, "SPACING", 0.01)

    store, world = await fresh(), World()
    one = reconciler(world)

    async def caused_by(cause: str) -> None:
        while not (said := await store.newest(NODE, "node.n1.world")) or said.cause != cause:
            await asyncio.sleep(0.001)

    async with running(run_reconciler(store, one)):
        await caused_by("")  # its first look
        await say(store, [seen("a")])
        await caused_by(f"KUBE/{(await store.tail(KUBE)).last}")
        world.there.add("foreign")  # somebody's change, and no event
        one.resync.request()
        await caused_by("")
        assert world.there == {"a"}


async def test_resync_request_causes_a_full_sync() -> None:
    store, world = await fresh(), World()
    one = reconciler(world)
    await say(store, [seen("a")])
    async with running(run_reconciler(store, one)):
        await until(lambda: world.there == {"a"})
        for _ in range(3):
            world.there.clear()
            one.resync.request()
            await until(lambda: world.there == {"a"})
        assert world.looks == [True] * 4


async def test_permanent_resync_requests_are_rate_limited() -> None:
    """Ten times what a look takes lies between two, and the events between them are not kept waiting."""
    store, world = await fresh(), World()
    world.slow = 0.02
    one = reconciler(world)
    async with running(run_reconciler(store, one)):
        for number in range(50):
            one.resync.request()
            await say(store, [seen(f"p{number}")])
            await until(functools.partial(world.has, number + 1))
        assert sum(world.looks) <= 1 + len(world.looks) // 10


async def test_failure_causes_a_full_sync_and_events_continue() -> None:
    store, world = await fresh(), World()
    world.failing = ["no", "no", "no"]
    await say(store, [seen("a")])
    async with running(run_reconciler(store, reconciler(world))):
        await until(lambda: len(world.failing) == 0)
        await say(store, [seen("b")])
        await until(lambda: world.there == {"a", "b"})
        await until_last(store, NODE, 4)
    said = await events(store, NODE)
    assert [type(one) for one in said] == [ApplyFailed] * 3 + [Applied]
    assert said[-1].covers == {KUBE: 2}
    assert world.looks[:3] == [True, True, True]


class FailsUntilFullSync(World):
    """Every change fails until a full sync."""

    async def observe(self, state: Numbers, full: bool) -> set[str]:
        if full:
            self.failing = []
        return await super().observe(state, full)


@pytest.mark.within(15)
async def test_failing_events_do_not_delay_the_full_sync() -> None:
    store, world = await fresh(), FailsUntilFullSync()
    async with running(run_reconciler(store, reconciler(world))):
        await until(lambda: world.looks == [True])
        world.failing = ["no"] * 100_000
        said = 0
        while sum(world.looks) < 2:
            await say(store, [seen(f"p{said}")])
            said += 1
            await asyncio.sleep(0.01)
        await until(functools.partial(world.has, said))


@pytest.mark.within(15)
async def test_resync_request_skips_the_backoff() -> None:
    store, world = await fresh(), World()
    world.failing = ["no"] * 7  # 25 s by the clock alone
    one = reconciler(world)
    await say(store, [seen("a")])
    async with running(run_reconciler(store, one)):
        while world.there != {"a"}:
            one.resync.request()
            await asyncio.sleep(0.001)


async def test_reports_are_rate_limited_and_the_last_one_is_sent() -> None:
    store, world = await fresh(), World()
    async with running(run_reconciler(store, reconciler(world))):
        await until_last(store, NODE, 1)
        for number in range(40):
            await say(store, [seen(f"p{number}")])
            await until(functools.partial(world.has, number + 1))
    said = await events(store, NODE)
    assert len(said) <= 4
    assert said[-1].covers == {KUBE: 40}
    assert sum(one.changes for one in said) == 40


async def test_nothing_is_stored_where_nothing_changed_and_who_asks_learns_how_far_it_has_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reports, "QUIET", 0.01)
    store, world = await fresh(), World()
    async with running(run_reconciler(store, reconciler(world))):
        await until_last(store, NODE, 1)
        for number in range(1, 4):
            await say(store, [gone("nobody")])
            while (await alive.ask(store, ["node.n1.world"]))["node.n1.world"].covers != {KUBE: number}:
                await asyncio.sleep(0.001)
        assert (await store.tail(NODE)).last == 1
        await say(store, [seen("a")])
        await until_last(store, NODE, 2)


async def test_changed_counts_are_reported_even_if_nothing_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "QUIET", 0.01)
    store, world = await fresh(), World()
    world.there = {"a"}
    counts = {"pods": 0}
    one = dataclasses.replace(reconciler(world), standing=lambda _: dict(counts))
    await say(store, [seen("a")])
    async with running(run_reconciler(store, one)):
        await until_last(store, NODE, 1)
        counts["pods"] = 5
        await say(store, [gone("nobody")])
        await until_last(store, NODE, 2)
    assert [said.standing for said in await events(store, NODE)] == [{"pods": 0}, {"pods": 5}]


async def test_what_is_refused_is_reported_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "QUIET", 0.01)
    store, world = await fresh(), World()
    refused = {"10.0.0.0/24": "it lies in 10.0.0.0/16"}
    one = dataclasses.replace(reconciler(world), refused=lambda _: dict(refused))
    async with running(run_reconciler(store, one)):
        await say(store, [gone("nobody")])
        await until_last(store, NODE, 1)
        refused.clear()
        await say(store, [gone("somebody")])
        await until_last(store, NODE, 2)
    assert [said.refused for said in await events(store, NODE)] == [
        {"10.0.0.0/24": "it lies in 10.0.0.0/16"},
        {},
    ]


async def test_a_reconciler_that_is_stuck_answers_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "STUCK", 0.0)
    store = await fresh()
    async with running(run_reconciler(store, reconciler(World()))):
        await until_last(store, NODE, 1)
        assert await alive.ask(store, ["node.n1.world"], within=0.02) == {}


async def test_a_failure_is_the_answer_until_it_is_over() -> None:
    store, world = await fresh(), World()
    world.failing = ["no buffer space"] * 100
    await say(store, [seen("a")])
    one = reconciler(world)
    async with running(run_reconciler(store, one)):
        await until_last(store, NODE, 1)
        [said] = (await alive.ask(store, ["node.n1.world"])).values()
        assert isinstance(said, ApplyFailed)
        world.failing = []
        one.resync.request()
        while not isinstance((await alive.ask(store, ["node.n1.world"]))["node.n1.world"], Applied):
            await asyncio.sleep(0.001)


async def test_status_is_in_the_report() -> None:
    store, world = await fresh(), World()
    await say(store, [seen("a"), seen("b")])
    async with running(run_reconciler(store, reconciler(world))):
        await until_last(store, NODE, 1)
    [said] = await events(store, NODE)
    assert said.standing == {"pods": 2}
