"""The log's clock: how it follows the time of messages, and decisions while the server's clock steps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from romana_bus import events as ev
from romana_bus.bus.clock import AHEAD, STEP, LogClock
from romana_bus.bus.memory import MemoryStore
from romana_bus.consumers.ipam import decider
from romana_bus.events import ROLES
from romana_bus.events.base import SECOND
from romana_bus.ipam import Settings
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.loop import run_decider
from tests.ipam.cluster import topology
from tests.runtime.small_consumers import events, running

if TYPE_CHECKING:
    from romana_bus.bus.api import Store

HOUR = 3600 * SECOND
START = 1_000_000 * SECOND


class Hands:
    """A machine's clocks: `ticks` in µs, and how far its wall clock is off."""

    def __init__(self, off: int = 0) -> None:
        self.ticks, self.off = 0, off
        self.clock = LogClock(lambda: self.ticks / SECOND, lambda: START + self.ticks + self.off)


def test_local_clock_is_used_until_the_log_time_is_known() -> None:
    hands = Hands(off=HOUR)
    assert hands.clock.now() == START + HOUR
    hands.clock.asked(START)
    assert hands.clock.now() == START
    hands.ticks += 7 * SECOND
    assert hands.clock.now() == START + 7 * SECOND


def test_old_messages_do_not_set_the_clock_and_newer_ones_do() -> None:
    clock = Hands().clock
    clock.asked(START)
    clock.heard(START - HOUR)
    assert clock.now() == START
    clock.heard(START + HOUR)
    assert clock.now() == START + HOUR


def test_a_server_that_steps_ahead_is_followed_at_once_and_one_that_steps_back_is_not() -> None:
    hands = Hands()
    hands.clock.asked(START)
    hands.clock.asked(START + HOUR)
    assert hands.clock.now() == START + HOUR
    hands.clock.asked(START)
    hands.ticks += SECOND
    assert hands.clock.now() == START + HOUR + SECOND


def test_time_of_a_writer_keeps_its_successor_from_going_back() -> None:
    """The server's clock was set back while there was no leader."""
    clock = Hands().clock
    clock.heard(START, written=START + HOUR)
    assert clock.now() == START + HOUR
    clock.asked(START)
    assert clock.now() == START + HOUR
    other = Hands().clock
    other.heard(START, written=10 * AHEAD)
    assert other.now() == START + AHEAD, "whoever has written that was not well"


@pytest.mark.parametrize("off", [HOUR, -HOUR, 6 * SECOND, -6 * SECOND])
def test_wrong_local_clock_is_reported_once(off: int) -> None:
    hands = Hands(off)
    with capture_logs() as said:
        for second in range(5):
            hands.ticks = second * SECOND
            hands.clock.asked(START + hands.ticks)
    assert [(one["log_level"], one["seconds"]) for one in said] == [("warning", off / SECOND)]
    with capture_logs() as said:
        hands.off = 0  # somebody has set it right
        hands.clock.asked(START + hands.ticks)
    assert [one["seconds"] for one in said] == [0.0]


def test_server_clock_step_is_reported() -> None:
    clock = Hands().clock
    clock.asked(START)
    with capture_logs() as said:
        clock.asked(START + STEP // 2)
        assert said == []
        clock.asked(START + HOUR)
    assert said[0]["event"] == "the log's clock jumped forward"


STEPS = st.tuples(st.integers(0, HOUR), st.integers(-HOUR, HOUR), st.sampled_from("ahw"))


@settings(deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_it_never_goes_back(steps: list[tuple[int, int, str]]) -> None:
    hands = Hands()
    hands.clock.asked(START)
    before = hands.clock.now()
    for ticks, off, how in steps:
        hands.ticks += ticks
        said = START + hands.ticks + off
        if how == "a":
            hands.clock.asked(said)
        elif how == "h":
            hands.clock.heard(said)
        else:
            hands.off = off
        assert hands.clock.now() >= before
        before = hands.clock.now()


# --- decisions ------------------------------------------------------------------------------------------


async def say(store: Store, *stored: ev.Event) -> None:
    for event in stored:
        await store.publish(event.role, outgoing(event, "", store.clock.now(), store.history))


def pods(kind: str) -> list[ev.Event]:
    return [
        ev.PodSeen(resource_version="1", uid=f"u{n}", namespace="web", name=f"{kind}{n}", node="n1")
        for n in range(12)
    ]


def gone(kind: str) -> list[ev.Event]:
    return [
        ev.PodGone(resource_version="9", uid=f"u{n}", namespace="web", name=f"{kind}{n}") for n in range(12)
    ]


async def until_addressed(store: MemoryStore, kind: str) -> None:
    wanted = {f"{kind}{number}" for number in range(12)}
    while True:
        newest: dict[str, Any] = {one.subject(): one for one in await events(store)}
        if {e.name for e in newest.values() if isinstance(e, ev.AddressAssigned)} == wanted:
            return
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("step", [3600.0, -3600.0, 365 * 86_400.0, -365 * 86_400.0])
@pytest.mark.parametrize("successor", [False, True], ids=["same leader", "successor"])
@pytest.mark.within(30.0)
async def test_addresses_of_a_server_whose_clock_steps(step: float, successor: bool) -> None:
    """16 addresses for 12 pods and 12 others: all have one in the end, whoever leads then, and a cooldown is
    as long as it was said to be by the clock that everybody has."""
    ipam = decider(Settings(cooldown=SECOND))

    store = MemoryStore()
    store.advance(400 * 86_400.0)
    await store.prepare(ROLES)
    node = ev.NodeSeen(resource_version="1", uid="n", name="n1", addresses=("192.0.2.1",))
    listed = [ev.ResourceSynced(resource=one, resource_version="1", count=0) for one in ("nodes", "pods")]
    await say(store, ev.TopologySet(document=topology("10.0.0.0/28", 28)), node, *pods("old"), *listed)
    async with running(run_decider(store, ipam, "first")) as [first]:
        await until_addressed(store, "old")
        await say(store, *gone("old"))
        while not any(isinstance(one, ev.AddressReleased) for one in await events(store)):
            await asyncio.sleep(0.01)
        store.now += step
        if successor:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            store.clock = LogClock()  # another process: it has heard nothing yet
        store.clock.asked(store.time)
        await say(store, *pods("new"))
        async with running(run_decider(store, ipam, "second")):
            await until_addressed(store, "new")
    times = [message.time for message in store._stream(ev.IPAM).log.values()]
    assert times == sorted(times), "time never goes back on the log"
