"""After a `kill -9` of a leader its successor goes on within three seconds: the one bound on time that is
promised, told from the server's own clock for when the successor's election was stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from romana_bus.bus.api import micros
from romana_bus.bus.clock import wall as now
from romana_bus.events import IPAM, KUBE, LeaderElected, codec
from romana_bus.runtime.election import LEASE, POLL
from tests.chaos.site import Site
from tests.chaos.waiting import until_standing

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.bus.jetstream.store import JetStream

pytestmark = pytest.mark.chaos

PROMISED = 3.0
LEADS = {"watch": KUBE, "ipam": IPAM}


class _Stored(msgspec.Struct):
    """STREAM.MSG.GET, as far as it is looked at."""

    time: str
    data: bytes = b""


def test_the_lease_leaves_time_for_an_election() -> None:
    assert LEASE + 2 * POLL < PROMISED


@pytest.mark.within(110)
async def test_a_successor_goes_on_within_three_seconds_of_a_kill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: dict[str, list[float]] = {role: [] for role in LEADS}

    with Site(tmp_path) as site:
        async with await site.open() as store:
            await site.start(store)
            for role in [*LEADS] * 3:
                await until_standing(site, store)
                taken[role].append(await take_over(site, store, role))
            await until_standing(site, store)
            site.stop()
    with capsys.disabled():
        for role, times in taken.items():
            print(f"\n{role}: taken over after", *(f"{one:.2f} s" for one in times), end="")  # noqa: T201
    assert max(taken["watch"] + taken["ipam"]) < PROMISED


async def take_over(site: Site, store: JetStream, role: str) -> float:
    """Seconds from the kill to the successor's election."""
    leader = site.leader(role)
    assert leader is not None
    before, _ = await elected(store, LEADS[role])
    killed = now()
    leader.kill()
    after, at = before, 0
    while after.term == before.term:
        assert now() < killed + 30e6, f"nobody leads {role}"
        await asyncio.sleep(0.05)
        after, at = await elected(store, LEADS[role])
    leader.start()
    assert after.term == before.term + 1
    return (at - killed) / 1e6


async def elected(store: JetStream, stream: str) -> tuple[LeaderElected, int]:
    """The newest election, and when the server stored it."""
    which = {"last_by_subj": f"{store.layout.prefix}{stream.lower()}.leader"}
    found = await store.api(f"STREAM.MSG.GET.{store.layout.stream(stream)}", which)
    stored = msgspec.convert(found["message"], _Stored)
    event = codec.decode(stored.data)
    assert isinstance(event, LeaderElected)
    return event, micros(stored.time)
