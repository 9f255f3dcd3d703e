"""Parked messages and the last usable message before them; and logs that were rewound or replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.api import Message, Outgoing, Position
from romana_bus.bus.memory import MemoryStore
from romana_bus.bus.reading.search import newest_before
from romana_bus.events import IPAM, KUBE, ROLES, AddressAssigned, Event, PodAddress
from romana_bus.runtime.feed import Feed, Read, outgoing
from romana_bus.runtime.fold import Fold
from romana_bus.runtime.parked import SEARCHES, ParkedEntry, ParkedMessages
from tests.runtime.small_consumers import NUMBERS, number_of, say, seen

if TYPE_CHECKING:
    from collections.abc import Sequence

POD = "kube.pod.web.a"


async def holding(role: str, *messages: Outgoing) -> MemoryStore:
    store = MemoryStore()
    await store.prepare(ROLES)
    for message in messages:
        await store.publish(role, message)
    return store


def junk(subject: str = POD) -> Outgoing:
    return Outgoing(subject, b"{")


def given(name: str, number: int) -> Outgoing:
    address = PodAddress(address=f"10.0.0.{number}", network="n", block="10.0.0.0/24")
    event = AddressAssigned(namespace="web", name=name, uid="u", node="n", tenant="web", addresses=(address,))
    return outgoing(event, "", 1, 3600)._replace(id=f"ipam/1-abcdef/{name}-{number}")


def place_of(message: Message | None) -> int:
    return message.seq if message else 0


# --- the word before ----------------------------------------------------------------------------------------


async def test_newest_message_of_a_subject_before_a_sequence() -> None:
    names = ["a", "b", "a", "b", "b", "a", "b"]
    store = await holding(KUBE, *(seen(name) for name in names))
    for forgotten in (1, 2, 4):
        store.forget(KUBE, forgotten)
        for seq in range(1, len(names) + 3):
            for name in "abc":
                kept = [at for at, one in enumerate(names, 1) if one == name and forgotten <= at < seq]
                found = await newest_before(store, KUBE, f"kube.pod.web.{name}", seq)
                assert place_of(found) == max(kept, default=0)


async def test_last_usable_message_skips_other_invalid_ones() -> None:
    store = await holding(KUBE, seen("a"), seen("b"), junk(), seen("b"), junk(), junk())
    flaws = ParkedMessages("test")
    assert place_of(await flaws.usable_before(store, ParkedEntry(KUBE, 6, POD, "no event"))) == 1
    assert place_of(await flaws.usable_before(store, ParkedEntry(KUBE, 1, POD, "no event"))) == 0
    assert place_of(await flaws.usable_before(store, ParkedEntry(KUBE, 6, "kube.pod.web.c", "no event"))) == 0


async def test_flood_of_junk_hides_no_valid_message() -> None:
    for count in (SEARCHES, 5 * SEARCHES):
        store = await holding(KUBE, seen("a"), *[junk() for _ in range(count)])
        flaw = ParkedEntry(KUBE, count + 1, POD, "no event")
        assert place_of(await ParkedMessages("test").usable_before(store, flaw)) == 1


@pytest.mark.parametrize("subject", ["kube.pod.web.*", "kube.pod.>"])
async def test_wildcard_subject_has_no_earlier_message(subject: str) -> None:
    """A subject with a wildcard was written by hand."""
    store = await holding(KUBE, seen("a"), junk(subject))
    assert (
        await ParkedMessages("test").usable_before(store, ParkedEntry(KUBE, 2, subject, "no event")) is None
    )


async def test_only_messages_of_leaders_count_where_required() -> None:
    ours = seen("a")._replace(id="kube/1-abcdef/1")
    store = await holding(KUBE, ours, seen("a", 2), seen("a", 3))
    for believes, found in (("", 2), (KUBE, 1)):
        flaw = ParkedEntry(KUBE, 3, POD, "somebody wrote it who was not elected")
        assert place_of(await ParkedMessages("test", believes).usable_before(store, flaw)) == found


# --- who leads says it again --------------------------------------------------------------------------------


async def said_again(store: MemoryStore) -> tuple[bool, list[tuple[int, str]], Fold[object]]:
    """Whether all is known, the numbers that are told again with their causes, and the state that they are
    told from."""
    repeated: list[tuple[int, str]] = []

    async def publish(decided: Sequence[tuple[Event, str]]) -> None:
        repeated.extend((number_of(event), cause) for event, cause in decided)  # type: ignore[arg-type]

    fold = Fold(store, NUMBERS, "start")
    await fold.boot()
    whole = await fold.republish_overwritten(store, publish)
    await fold.feed.close()
    return whole, repeated, fold  # type: ignore[return-value]


async def test_leader_publishes_overwritten_events_again() -> None:
    over = junk("ipam.address.n.web.a")
    store = await holding(IPAM, given("a", 1), given("b", 2), given("a", 3), over)
    whole, repeated, fold = await said_again(store)
    assert (whole, repeated) == (True, [(3, "IPAM/4")])
    assert fold.state.given == {"a": 3, "b": 2}  # type: ignore[attr-defined]
    assert not fold.parked


async def test_expired_event_cannot_be_published_again() -> None:
    store = await holding(IPAM, given("a", 1), given("b", 2), junk("ipam.address.n.web.a"))
    store.forget(IPAM, 2)
    whole, repeated, fold = await said_again(store)
    assert (whole, repeated) == (False, [])
    assert [flaw.seq for flaw in fold.parked.kept] == [3]


async def test_message_of_a_leader_of_another_version_is_kept() -> None:
    """It has the id of its place: a leader gave it, and whoever knows its type goes by it."""
    newer = Outgoing("ipam.address.n.web.a", b'{"type":"AddressLent"}', "ipam/2-abcdef/2")
    store = await holding(IPAM, given("a", 1), newer)
    assert (await said_again(store))[:2] == (True, [])


async def test_junk_on_a_foreign_stream_is_not_repaired() -> None:
    store = await holding(KUBE, seen("a"), junk())
    whole, repeated, fold = await said_again(store)
    assert (whole, repeated) == (True, [])
    assert fold.state.pods == {"a": 1}  # type: ignore[attr-defined]


# --- logs that are not as they were -------------------------------------------------------------------------


async def lost(store: MemoryStore, *before: tuple[str, Position]) -> list[str]:
    feed = Feed(store, [Read(KUBE), Read(IPAM)], "test", ParkedMessages("test"))
    return await feed.lost(dict(before))


async def test_truncated_log_is_distinguished_from_a_grown_one() -> None:
    store = await holding(KUBE, *(seen(name)._replace(id=f"id-{name}") for name in "abc"))
    at = {seq: Position((await store.tail(KUBE)).epoch, seq, f"id-{'.abc'[seq]}") for seq in (1, 2, 3)}
    await store.publish(IPAM, given("a", 1))
    ipam = (IPAM, Position((await store.tail(IPAM)).epoch, 1, "ipam/1-abcdef/a-1"))
    assert await lost(store) == []
    await say(store, [seen("d")])
    assert await lost(store, (KUBE, at[3]), ipam) == []
    store.forget(KUBE, 3)  # its window has moved on
    assert await lost(store, (KUBE, at[1])) == await lost(store, (KUBE, at[3])) == []
    store.rewind(KUBE, 2)
    assert await lost(store, (KUBE, at[3]), ipam) == [KUBE]
    assert await lost(store, (KUBE, Position(at[1].epoch, 0, ""))) == []


async def test_log_that_grew_back_to_its_old_length_is_another() -> None:
    store = await holding(KUBE, *(seen(name)._replace(id=f"id-{name}") for name in "abc"))
    before = Position((await store.tail(KUBE)).epoch, 3, "id-c")
    store.rewind(KUBE, 2)
    await store.publish(KUBE, seen("other")._replace(id="id-other"))
    assert await lost(store, (KUBE, before)) == [KUBE]
    store.empty(KUBE)
    await store.prepare(ROLES)
    for name in "abc":
        await store.publish(KUBE, seen(name)._replace(id=f"id-{name}"))
    assert await lost(store, (KUBE, before)) == [KUBE]  # made anew, by its epoch
