"""One day of a small cluster, drawn from a seed: work, faults, and a quiet end by which all must be well."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import pytest

from romana_bus.producers.kubernetes import absence
from tests.simulation import invariants
from tests.simulation.faults import FAULTS
from tests.simulation.loop import run
from tests.simulation.site import AT_ONCE, Site
from tests.simulation.workload import Workload

if TYPE_CHECKING:
    import random

#: Seconds: of trouble at least and at most; for which it is left alone before it is looked at.
TROUBLE, LEFT_ALONE = (20.0, 90.0), 120.0


class Day(NamedTuple):
    """`violations`: what must not have happened. `digest`: of all that is on the log at the end."""

    seed: int
    faults: tuple[str, ...]
    violations: tuple[str, ...]
    story: tuple[str, ...]
    digest: str


def live(seed: int) -> Day:
    """The same for the same seed."""

    async def main(chance: random.Random) -> Day:
        site = Site(chance)
        with pytest.MonkeyPatch.context() as patch:
            invariants.what_counts_as_stored(site, patch)
            patch.setattr(absence, "AT_ONCE", AT_ONCE)
            site.build()
            faults = await _day(site)
        return Day(seed, tuple(faults), tuple(site.violations), tuple(site.story), site.server.digest())

    return run(main, seed)


async def _day(site: Site) -> list[str]:
    chance, workload = site.chance, Workload(site)
    site.spawn(workload.collect_garbage())
    await asyncio.sleep(chance.choice([0.0, 5.0]))
    site.spawn(workload.run())
    await asyncio.sleep(chance.uniform(0.0, 15.0))
    # A day has few kinds of faults, so that each is met in peace as well as together with others.
    kinds = chance.sample(sorted(FAULTS), chance.choice([1, 2, 2, 3, 5]))
    site.kinds = kinds
    until, faults, running = site.time + chance.uniform(*TROUBLE), list[str](), list[asyncio.Task[None]]()
    while site.time < until and not site.violations:
        name = chance.choice(kinds)
        faults.append(name)
        running.append(asyncio.create_task(FAULTS[name](site)))
        await asyncio.sleep(chance.choice([0.5, 5.0, 20.0]) * chance.random())
    for task in running:
        await task
    workload.quiet = True
    site.say("from now on it is left alone")
    site.kube.lies.clear()
    site.server.ambushes.clear()
    workload.set_up_again()
    await asyncio.sleep(LEFT_ALONE)
    site.check()
    if not site.violations:
        invariants.at_the_end(site, faults)
    return faults
