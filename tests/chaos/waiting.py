"""What is waited for: that all play their parts, and that the day is over."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from romana_bus.bus.api import BusError
from romana_bus.bus.clock import wall as now
from romana_bus.consumers.ipam import decider
from romana_bus.events import IPAM, KUBE, ROLES, Fact, LeaderElected, ResourceSynced
from romana_bus.ipam import Tick, decide, evolve, wake
from romana_bus.producers.kubernetes.objects import BUILT_IN
from romana_bus.runtime.fold import Fold
from tests.chaos.ending import Stored, without_version
from tests.chaos.site import SETTINGS

if TYPE_CHECKING:
    from romana_bus.bus.jetstream.store import JetStream
    from tests.chaos.site import Site

#: How many of each follow a stream where one leads and one stands by: who writes a stream does not read it.
FOLLOW = {KUBE: {"watch": 1, "ipam": 2}, IPAM: {"ipam": 1}}


async def until_over(site: Site, store: JetStream, expected: dict[str, Fact], within: float = 60.0) -> None:
    """Until the day is played, the table has its end, nobody lags, and there is nothing left to decide,
    now or when a cooldown ends."""
    missing = "nothing yet"
    try:
        async with asyncio.timeout(within):
            while missing := await lacking(site, store, expected):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"after {within:.0f} s the day is not over: {missing}") from None


async def lacking(site: Site, store: JetStream, expected: dict[str, Fact]) -> str:
    """What it is that has to be waited for, or ''."""
    if not site.played:
        return "the day is still being played"
    try:
        return await _standing(site, store) or await _facts(store, expected) or await _decisions(store)
    except BusError as error:
        return f"the log cannot be read: {error}"


async def until_standing(site: Site, store: JetStream, within: float = 30.0) -> None:
    """Until of each role one leads and one stands by, and all have read what there is."""
    missing = "nothing yet"
    try:
        async with asyncio.timeout(within):
            while missing := await _standing(site, store):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"after {within:.0f} s: {missing}") from None


async def _standing(site: Site, store: JetStream) -> str:
    return await _leaders(site, store) or await _lag(store)


async def _leaders(site: Site, store: JetStream) -> str:
    pids = {process.pid for process in site.processes if process.alive}
    if len(pids) < len(site.processes):
        return "somebody is not running"
    for role in FOLLOW:
        newest = await store.newest(role, f"{role.lower()}.leader")
        elected = Stored.of(newest).event if newest else None
        if not isinstance(elected, LeaderElected) or pid_of(elected.holder) not in pids:
            return f"nobody leads {role}"
    return ""


def pid_of(holder: str) -> int:
    return int(holder.rpartition("/")[2].partition("-")[0])


async def _lag(store: JetStream) -> str:
    for role in ROLES:
        log, table = store.layout.stream(role), store.layout.table(role)
        if (await store.stream_tail(table)).last != (await store.stream_tail(log)).last:
            return f"the table of {role} is behind"
        listed = await store.api(f"CONSUMER.LIST.{log}", {"offset": 0})
        # Of those whose reader was killed, nobody asks anything.
        living = [one for one in listed.get("consumers") or [] if one["num_waiting"]]
        if lagging := [one["name"] for one in living if one["num_pending"]]:
            return f"{lagging} lag behind {role}"
        follow = Counter(one["name"].partition("-")[0] for one in living)
        if any(follow[name] != count for name, count in FOLLOW.get(role, {}).items()):
            return f"{dict(follow)} follow {role}, not {FOLLOW[role]}"
    return ""


async def _facts(store: JetStream, expected: dict[str, Fact]) -> str:
    stored = [Stored.of(message).event async for batch in store.table(KUBE) for message in batch]
    rows = {event.subject(): event for event in stored}.values()  # without what was replaced
    found = {e.subject(): without_version(e) for e in rows if isinstance(e, Fact) and not e.tombstone}
    wanted = {subject: without_version(fact) for subject, fact in expected.items()}
    if found != wanted:
        return f"facts differ: {sorted(s for s in found.keys() | wanted if found.get(s) != wanted.get(s))}"
    synced = [event.resource for event in rows if isinstance(event, ResourceSynced)]
    return "" if len(synced) == len(BUILT_IN) else f"only {synced} are synced"


async def _decisions(store: JetStream) -> str:
    fold = Fold(store, decider(SETTINGS), "test")
    try:
        await fold.boot()
    finally:
        await fold.feed.close()
    evolve(fold.state, Tick(now()))
    if fold.state.obstacle:
        return fold.state.obstacle
    if decisions := decide(fold.state):
        return f"still to be decided: {decisions[:3]}"
    return f"a cooldown ends at {due}" if (due := wake(fold.state)) else ""
