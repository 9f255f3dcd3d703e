"""One cluster as it is run: an API server that plays the recorded day, a NATS server, two watchers and
two address deciders, all of them real processes.

The day begins on a signal, once a watcher has listed: what happens before anybody watches would be
listed, and not be seen happening.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Self

import msgspec

from romana_bus.bus.clock import wall as now
from romana_bus.bus.connect import Session, open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.events import ROLES, SPEC, TopologySet
from romana_bus.ipam import Settings
from romana_bus.runtime.feed import outgoing
from tests.chaos.processes import ROOT, Process, until_said
from tests.identities import access_to, log_options
from tests.servers import NatsServer

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.bus.jetstream.store import JetStream

RECORDINGS = ROOT / "recordings"
#: Times as fast as it was recorded, and the longest pause: two minutes become seven seconds, and an
#: election takes two of them.
SPEED, PAUSE = 6.0, 0.5
#: A cooldown that outlasts an election, and yet lets addresses be used again within the day.
SETTINGS = Settings(cooldown=3_000_000)
#: One group for each zone, so that where a node belongs does not depend on who came first.
TOPOLOGY = {
    "networks": [{"name": "net", "cidr": "10.112.0.0/22", "block_mask": 30}],
    "topologies": [
        {
            "networks": ["net"],
            "map": [
                {"name": zone, "assignment": {"topology.kubernetes.io/zone": zone}, "groups": []}
                for zone in ("us-east-1a", "us-east-1b", "us-east-1c")
            ],
        }
    ],
}


class Site:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nats = NatsServer(directory / "nats")
        speed = (f"--speed={SPEED}", f"--pause={PAUSE}", "--delay=3600")
        self.api = Process(directory, "api", "romana_bus.lab.recordings.player", str(RECORDINGS), *speed)
        self.roles: dict[str, list[Process]] = {"watch": [], "ipam": []}

    @property
    def processes(self) -> list[Process]:
        return [process for replicas in self.roles.values() for process in replicas]

    def __enter__(self) -> Self:
        try:
            self.nats.start()
            self.api.start()
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for process in (*self.processes, self.api):
            process.end()
        self.nats.stop()

    async def open(self) -> Session:
        return await open_store(access_to(self.nats.url), Layout(), "test", ROLES)

    async def start(self, store: JetStream) -> None:
        """Up to the moment at which the day begins."""
        await store.publish(SPEC, outgoing(TopologySet(document=TOPOLOGY), "", now(), store.history))
        url = msgspec.json.decode(until_said(self.api, '"url"'))["url"]
        common = (*log_options(self.nats.url, Layout().cluster), "--log-level", "debug")
        cooldown = f"--cooldown={SETTINGS.cooldown / 1e6}"
        for number in (1, 2):
            watch = ("romana_bus", "watch", "--server", url, *common)
            ipam = ("romana_bus", "run", "ipam", cooldown, *common)
            self.roles["watch"].append(Process(self.directory, f"watch-{number}", *watch))
            self.roles["ipam"].append(Process(self.directory, f"ipam-{number}", *ipam))
        for process in self.processes:
            process.start()

    @property
    def listed(self) -> int:
        """How many listings are complete."""
        return sum(process.words().count('"event": "synced"') for process in self.roles["watch"])

    def begin_the_day(self) -> None:
        self.api.signal(signal.SIGUSR1)

    @property
    def played(self) -> bool:
        return '"played"' in self.api.words()

    def leader(self, role: str) -> Process | None:
        """Who was elected last, if it lives."""
        led = {process.name: process.led_since() for process in self.roles[role] if process.alive}
        newest = max(led, key=lambda name: led[name], default="")
        return next((p for p in self.roles[role] if p.name == newest and led[newest]), None)

    def stop(self) -> None:
        """All at once, in order."""
        for process in self.processes:
            process.signal(signal.SIGTERM)
        for process in self.processes:
            code = process.exit_code()
            assert code == 0, f"{process.name} ended with exit code {code}: {process.words()[-2000:]}"
