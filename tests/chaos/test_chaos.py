"""A recorded day, played fast, while the watcher, the address decider and NATS are killed at random
moments: it ends as a day without faults does.

`ROMANA_CHAOS_SEEDS=50` plays fifty days instead of five; `-k seed-17` repeats one of them.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.reading.tail import tail
from romana_bus.events import ROLES
from romana_bus.producers.kubernetes.objects import BUILT_IN
from romana_bus.tasks import stop
from tests.chaos import holds
from tests.chaos.ending import read, recorded_facts
from tests.chaos.faults import Fault, recorded, schedule, suffer
from tests.chaos.site import Site
from tests.chaos.waiting import until_over
from tests.conftest import run

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.bus.api import Message
    from romana_bus.bus.jetstream.store import JetStream
    from tests.chaos.ending import Ending

SEEDS = range(int(os.environ.get("ROMANA_CHAOS_SEEDS", "5")))

pytestmark = pytest.mark.chaos


async def day(site: Site, faults: list[Fault]) -> tuple[Ending, list[tuple[str, Message]]]:
    """What it left behind, and what somebody who followed it all the time was shown."""
    recording = recorded()
    async with await site.open() as store:
        await site.start(store)
        while site.listed < len(BUILT_IN):
            await asyncio.sleep(0.02)
        seen: list[tuple[str, Message]] = []
        following = asyncio.create_task(follow(store, seen))
        site.begin_the_day()
        await suffer(site, faults)
        await until_over(site, store, recorded_facts(recording))
        assert not following.done(), following.exception()
        await stop(following)
        site.stop()
        return await read(store), seen


async def follow(store: JetStream, seen: list[tuple[str, Message]]) -> None:
    """Raises Rewound where a log is no longer what it was."""
    async for batch in tail(store, ROLES, last=None):
        seen += batch


def play(directory: Path, faults: list[Fault]) -> tuple[Ending, list[tuple[str, Message]]]:
    result: list[tuple[Ending, list[tuple[str, Message]]]] = []

    async def scenario() -> None:
        result.append(await day(site, faults))

    with Site(directory) as site:
        run(scenario(), within=110)
        for process in site.processes:
            assert "Traceback" not in process.words(), process.log
    return result[0]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ending:
    ending, seen = play(tmp_path_factory.mktemp("undisturbed"), [])
    holds.everything(ending, ending, seen)
    return ending


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_day_with_faults_ends_like_a_day_without(undisturbed: Ending, tmp_path: Path, seed: int) -> None:
    faults = schedule(random.Random(seed), recorded())
    try:
        ending, seen = play(tmp_path, faults)
        holds.everything(ending, undisturbed, seen)
    except BaseException:
        print(f"seed {seed}; what everybody said is in {tmp_path}", *faults, sep="\n  ")  # noqa: T201
        raise
