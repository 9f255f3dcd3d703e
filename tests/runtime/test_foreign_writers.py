"""A foreign writer on a stream that only its leader may write: nothing is lost, and it is reported."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.api import ForeignWrite, Outgoing, Store
from romana_bus.bus.memory import MemoryStore
from romana_bus.consumers import ipam
from romana_bus.events import (
    IPAM,
    KUBE,
    NODE,
    ROLES,
    AddressAssigned,
    ForeignWriteSeen,
    MessagesParked,
    NodeSeen,
    PodSeen,
    ResourceSynced,
    codec,
)
from romana_bus.ipam import Settings
from romana_bus.metrics import FOREIGN
from romana_bus.runtime import election, loop, reports
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.loop import run_decider
from tests.contract.test_store import out
from tests.contract.test_writer import elected, everything
from tests.runtime.small_consumers import (
    NUMBERS,
    both,
    elections,
    events,
    number_of,
    running,
    say,
    seen,
    until_last,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from romana_bus.bus.writing.write import FencedWriter
    from romana_bus.events import Event

    Stores = Callable[..., AbstractAsyncContextManager[Store]]

DAY = 86_400.0
_ids = itertools.count(1)


async def test_message_after_a_foreign_one_is_not_taken_for_the_expected_one(
    stores: Stores,
) -> None:
    """Of two that are sent singly the first fails, and the second fits behind the stranger's."""
    async with stores() as store, stores() as other:
        writer = await elected(store, 1)
        last = await stored_by(writer, out("kube.pod.web.a", "a"))
        await other.publish(KUBE, out("kube.pod.web.stranger", "stranger"))
        with pytest.raises(ForeignWrite) as caught:
            await stored_by(writer, out("kube.pod.web.b", "b"), out("kube.pod.web.c", "c"))
        assert (caught.value.role, caught.value.seq) == (KUBE, last + 1)
        assert caught.value.foreign_subject == "kube.pod.web.stranger"
        assert writer.acknowledged == last
        await writer.close()
        stored = await everything(store)
        assert stored[:3] == ["1:", "a", "stranger"]
        assert "b" not in stored


async def stored_by(writer: FencedWriter, *messages: Outgoing) -> int:
    await writer.put(messages)
    return await writer.flush()


@both
async def test_foreign_messages_do_not_stop_a_decider_and_are_reported(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MAX_BACKOFF", 0.05)

    async with stores() as store, stores() as other:
        counted = FOREIGN.labels(IPAM)._value.get()
        async with running(run_decider(store, NUMBERS, "me")):
            places = []
            for turn in range(1, 5):
                await say(other, [seen(f"p{turn}-{number}") for number in range(5)])
                await until_given(other, 5 * turn)
                stranger = Outgoing(f"ipam.map.host.stranger{turn}", b"junk")
                places.append(await other.publish(IPAM, stranger))
            await say(other, [seen("last")])
            await until_given(other, 21)
            await until_last(other, NODE, len(places))
        reported = [event for event in await events(store, NODE) if isinstance(event, ForeignWriteSeen)]
        assert [(event.consumer, event.stream, event.seq) for event in reported] == [
            ("numbers", IPAM, seq) for seq in places
        ]
        assert [event.written for event in reported] == [f"ipam.map.host.stranger{n}" for n in range(1, 5)]
        assert FOREIGN.labels(IPAM)._value.get() == counted + 4
        assert await elections(store) == ["me"] * 5


async def until_given(store: Store, count: int) -> None:
    """Until so many pods have a number, each its own, and one."""
    while True:
        given = [one for one in await events(store) if isinstance(one, AddressAssigned)]
        if len(given) >= count:
            break
        await asyncio.sleep(0.01)
    assert len({event.name for event in given}) == len({number_of(event) for event in given}) == len(given)


# --- addresses ----------------------------------------------------------------------------------------------


async def store_events(store: Store, *reported: Event) -> None:
    """Facts with ids, as their writer gives them."""
    await say(store, [outgoing(event, "", 1, DAY)._replace(id=f"kube/1/{next(_ids)}") for event in reported])


def pod(name: str, version: int) -> PodSeen:
    return PodSeen(resource_version=str(version), uid=f"u-{name}", namespace="web", name=name, node="n")


def synced(version: int) -> list[ResourceSynced]:
    return [
        ResourceSynced(resource=kind, resource_version=str(version), count=1) for kind in ("nodes", "pods")
    ]


async def listed(*names: str) -> MemoryStore:
    """A cluster of one node with these pods, all of which is listed."""
    store = MemoryStore()
    await store.prepare(ROLES)
    node = NodeSeen(resource_version="1", uid="u-n", name="n", addresses=("192.0.2.1",))
    await store_events(store, node, *(pod(name, 2) for name in names), *synced(3))
    return store


async def address_of(store: Store, name: str) -> Any:
    """The newest message on it, once there is one."""
    while (found := await store.newest(IPAM, f"ipam.address.n.web.{name}")) is None:
        await asyncio.sleep(0.005)
    return found


@pytest.fixture
def decider(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(election, "POLL", 0.005)
    monkeypatch.setattr(reports, "SPACING", 0.005)
    return ipam.decider(Settings())


async def test_address_overwritten_by_a_foreign_writer_is_published_again(decider: Any) -> None:
    store = await listed("a", "b")
    async with running(run_decider(store, decider, "me")):
        before = await address_of(store, "a")
        over = await store.publish(IPAM, Outgoing(before.subject, b"\xff junk"))
        while (now := await address_of(store, "a")).seq <= over:
            await asyncio.sleep(0.005)
        assert (now.body, now.cause) == (before.body, f"IPAM/{over}")
        ghost = await store.publish(IPAM, Outgoing("ipam.address.n.web.ghost", b"\xff junk"))
        while not (parked := await newest_parked(store)) or parked.count != 1:
            await asyncio.sleep(0.005)
        assert [(one.stream, one.seq) for one in parked.parked] == [(IPAM, ghost)]
        await store_events(store, pod("c", 4))
        given = {name: codec.decode((await address_of(store, name)).body) for name in "abc"}
        assert len({event.addresses[0].address for event in given.values()}) == 3  # type: ignore[union-attr]
    assert await elections(store) == ["me"] * 3


async def newest_parked(store: Store) -> MessagesParked | None:
    found = await store.newest(NODE, "node.-.parked.ipam")
    event = codec.decode(found.body) if found else None
    return event if isinstance(event, MessagesParked) else None


async def test_rewound_events_are_not_used_before_a_full_listing(decider: Any) -> None:
    """The log has an older word on who is where than the one that addresses were given by."""
    passes = 0

    def decide(state: Any) -> Any:
        nonlocal passes
        passes += 1
        return decider.decide(state)

    store = await listed("a")
    end = (await store.tail(KUBE)).last
    async with running(run_decider(store, dataclasses.replace(decider, decide=decide), "me")):
        await address_of(store, "a")
        await store_events(store, pod("b", 4))
        await address_of(store, "b")
        store.rewind(KUBE, end)
        await store_events(store, pod("c", 5))
        while (await elections(store)) != ["me", "me"]:
            await asyncio.sleep(0.005)
        for version in (6, 7):
            before = passes
            await store_events(store, pod("c", version))
            while passes == before:
                await asyncio.sleep(0.005)
        assert await store.newest(IPAM, "ipam.address.n.web.c") is None
        await store_events(store, pod("b", 4), *synced(8))
        await address_of(store, "c")
