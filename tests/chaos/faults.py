"""What goes wrong in a seed's day: drawn from the seed alone, and done to whoever plays the part then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.lab.recording import Recording
from tests.chaos.site import RECORDINGS, SPEED

if TYPE_CHECKING:
    import random

    from tests.chaos.processes import Process
    from tests.chaos.site import Site
    from tests.servers import NatsServer

#: Longer than the lease: while it stands still, another one is elected.
FROZEN = (2.5, 4.0)
DOWN = (0.05, 1.0)

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
    kills = [*BASIC, chance.choice(BASIC + FURTHER)]
    faults = [Fault(_moment(chance, recording), "kill", whom, _down(chance)) for whom in kills]
    return sorted([*faults, _freeze(chance, recording)])


def _moment(chance: random.Random, recording: Recording) -> float:
    """A third of them anywhere in the day; the others right behind one of its events, while it is worked
    on."""
    if chance.random() < 1 / 3:
        return round(chance.uniform(0, recording.duration / SPEED), 3)
    return round(chance.choice(recording.events).t / SPEED + chance.uniform(0, 0.03), 3)


def _down(chance: random.Random) -> float:
    return round(chance.uniform(*DOWN), 3)


def _freeze(chance: random.Random, recording: Recording) -> Fault:
    """In the busy part of the day, so that there is something to do for one that wakes up and believes
    that it still leads."""
    busy = recording.events[: len(recording.events) * 2 // 3]
    at = round(chance.choice(busy).t / SPEED, 3)
    return Fault(at, "freeze", chance.choice(FREEZES), round(chance.uniform(*FROZEN), 3))


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
