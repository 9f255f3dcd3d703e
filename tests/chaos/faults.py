"""The faults of a seed's day: drawn from the seed alone, applied to the process that has the role then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.lab.recordings.player import Recording, moments
from tests.chaos.site import PAUSE, RECORDINGS, SPEED

if TYPE_CHECKING:
    import random

    from tests.chaos.processes import Process
    from tests.chaos.site import Site
    from tests.servers import NatsServer

#: Longer than the lease: while it stands still, another one is elected.
FROZEN = (2.5, 3.5)
DOWN = (0.05, 1.0)
ELECTION = 2.5

#: In every day each of the first row, and one more of all.
BASIC = ("watch leader", "ipam leader", "nats")
FURTHER = (
    "nats+ipam leader",
    "nats+watch leader",
    "watch leader+ipam leader",
    "watch standby+ipam standby",
    "nats+watch leader+ipam leader",
)
FREEZES = ("ipam leader", "ipam leader", "watch leader", "watch leader+ipam leader")


class Fault(NamedTuple):
    """`at`: seconds since the day began; `what`: kill or freeze; `whom`: parts, joined by '+'; `lasting`:
    seconds until it is started again, or goes on."""

    at: float
    what: str
    whom: str
    lasting: float


def schedule(chance: random.Random, recording: Recording) -> list[Fault]:
    """One freeze, with something to do for a leader that wakes up and believes that it still leads; and
    kills all over the day."""
    events = moments(recording, SPEED, PAUSE)
    asleep = round(chance.choice(events[: len(events) * 2 // 3]), 3)
    freeze = Fault(asleep, "freeze", chance.choice(FREEZES), _lasting(chance, FROZEN))
    kills = [_kill(chance, whom, events, freeze) for whom in (*BASIC, chance.choice(BASIC + FURTHER))]
    return sorted([*kills, freeze])


def _kill(chance: random.Random, whom: str, events: list[float], freeze: Fault) -> Fault:
    """Where there is room, not while the same part sleeps, or is about to be elected: nobody would wake."""
    roles = [role for role in ("watch", "ipam") if role in whom and role in freeze.whom]
    for _ in range(100):
        at = _moment(chance, events)
        if not roles or not freeze.at - ELECTION < at < freeze.at + freeze.lasting:
            break
    return Fault(at, "kill", whom, _lasting(chance, DOWN))


def _moment(chance: random.Random, events: list[float]) -> float:
    """A third of them anywhere in the day; the others right behind one of its events, while it is worked
    on."""
    if chance.random() < 1 / 3:
        return round(chance.uniform(0, events[-1]), 3)
    return round(chance.choice(events) + chance.uniform(0, 0.03), 3)


def _lasting(chance: random.Random, bounds: tuple[float, float]) -> float:
    return round(chance.uniform(*bounds), 3)


async def suffer(site: Site, faults: list[Fault]) -> None:
    """All of them, each at its time."""
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for fault in faults:
            group.create_task(_suffer(site, fault, began))


async def _suffer(site: Site, fault: Fault, began: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(began + fault.at - loop.time())
    victims = [victim for part in fault.whom.split("+") if (victim := _find(site, part))]
    for victim in victims:
        victim.kill() if fault.what == "kill" else victim.freeze()
    await asyncio.sleep(fault.lasting)
    for victim in victims:
        victim.start() if fault.what == "kill" else victim.thaw()


def _find(site: Site, part: str) -> Process | NatsServer | None:
    """None: another fault keeps it down already. Where nobody was elected yet, the first one plays."""
    if part == "nats":
        assert site.nats.process is not None
        return site.nats if site.nats.process.poll() is None else None
    role, place = part.split()
    replicas = [process for process in site.roles[role] if process.alive]
    leader = site.leader(role) or next(iter(replicas), None)
    wanted = [process for process in replicas if (process is leader) == (place == "leader")]
    return next(iter(wanted), None)


def recorded() -> Recording:
    return Recording.load(RECORDINGS)
