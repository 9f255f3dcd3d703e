"""A small cluster in one process: API server, log, watchers, deciders, machines with agents and kernels."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import structlog

from romana_bus.consumers.ipam import decider
from romana_bus.events import IPAM, KUBE, AddressReleased, PodGone, codec
from romana_bus.ipam import Settings
from romana_bus.producers.kubernetes.objects import NODES, PODS
from romana_bus.producers.kubernetes.watcher import run_watcher
from romana_bus.runtime.loop import run_decider
from tests.simulation.kube import Api, Kube
from tests.simulation.log.server import Server
from tests.simulation.loop import NEUTRAL, START
from tests.simulation.machine import Machine
from tests.simulation.process import Process

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine, MutableMapping

    from romana_bus.bus.api import Outgoing
    from romana_bus.ipam import State

#: Few addresses: what is given back is soon given out again.
SETTINGS = Settings(cooldown=10_000_000, default_network="10.128.0.0/23", default_block_mask=30)
#: Deletions that a watch is believed a second: few, since there are few pods.
AT_ONCE = 5
ZONE = "topology.kubernetes.io/zone"
#: What our own processes say when something went wrong that never should.
MISTAKES = ("a bug in romana-bus: trying again", "a message could not be folded")


class Site:
    """`story`: what happened, as lines. `violations`: what must not have happened. `states`: of each decider,
    the newest that it has built. `unknown`: the uids of pods whose addresses nobody knows any more."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.server, self.kube = Server(), Kube(chance)
        self.story: list[str] = []
        self.violations: list[str] = []
        self.states: dict[str, State] = {}
        self.machines: dict[str, Machine] = {}
        self.agents: dict[str, Process] = {}
        self.control: list[Process] = []
        self.owners: dict[str, tuple[str, str]] = {}  # address -> machine and pod
        self.unknown: set[str] = set()
        self.kinds: list[str] = []  # of the day's faults
        self.lies: Counter[str] = Counter()  # uid of a pod -> wrong answers that it is gone, since a true one
        self.denied: list[tuple[int, PodGone, int]] = []  # µs, log's time; of pods that are there; lies
        self.taken: list[tuple[str, str]] = []  # uid of a pod that runs, and what took its address
        self.server.heard = self._heard
        self.lied = -60.0  # when a wrong list was given last
        self.skews = chance.choice([(0.0,), (0.0, 3600.0, -3600.0), (0.0, 31_536_000.0, -31_536_000.0, 60.0)])
        self._tasks: list[asyncio.Task[None]] = []
        structlog.configure(processors=[self._logged], cache_logger_on_first_use=False)

    # --- its parts ------------------------------------------------------------------------------------------

    def build(self) -> None:
        for number in range(2):
            self.control.append(self.process(f"watch{number}", self._watch))
            self.control.append(self.process(f"ipam{number}", self._ipam))
        for number in range(self.chance.randint(2, 5)):
            self.add_machine(number)

    def add_machine(self, number: int) -> None:
        name = f"n{number}"
        machine = self.machines[name] = Machine(self, name, number, self.chance.choice(["a", "a", "b"]))
        self.register(machine)
        self.agents[name] = self.process(f"agent-{name}", machine.agent)
        self.spawn(machine.kubelet())

    def process(self, name: str, main: Callable[[Process], Coroutine[Any, Any, None]]) -> Process:
        return Process(name, self.server, self.chance, self.chance.choice(self.skews), main)

    @property
    def processes(self) -> list[Process]:
        return [*self.control, *self.agents.values()]

    async def _watch(self, process: Process) -> None:
        await run_watcher(process.store, Api(self.kube, self.chance), process.holder, (NODES, PODS))  # type: ignore[arg-type]

    async def _ipam(self, process: Process) -> None:
        plain = decider(SETTINGS)

        def initial() -> State:
            self.states[process.name] = plain.initial()
            return self.states[process.name]

        await run_decider(process.store, dataclasses.replace(plain, initial=initial), process.holder)

    def register(self, machine: Machine) -> None:
        """A kubelet makes its node object."""
        uid = f"uid-{machine.name}-{self.kube.version}"
        self.kube.put("nodes", machine.name, {
            "metadata": {"name": machine.name, "uid": uid, "labels": {ZONE: machine.zone}},
            "status": {"addresses": [{"type": "InternalIP", "address": machine.address}]},
        })  # fmt: skip

    # --- helps for whoever acts upon it ---------------------------------------------------------------------

    @property
    def time(self) -> float:
        return asyncio.get_running_loop().time() - START

    def spawn(self, one: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(one, context=NEUTRAL.copy()))

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(seconds, do, context=NEUTRAL.copy())

    def check(self) -> None:
        """Raises what an actor failed with: a mistake of the simulation itself."""
        for task in self._tasks:
            if task.done():
                task.result()

    def say(self, what: str, **more: Any) -> None:
        rest = " ".join(f"{name}={value}" for name, value in more.items())
        self.story.append(f"{self.time:8.3f}  {what} {rest}".rstrip())

    def wrong(self, what: str) -> None:
        self.say(f"VIOLATION: {what}")
        self.violations.append(what)

    def wired(self, machine: Machine, key: str, address: str) -> None:
        self.say(f"{machine.name} gives {address} to {key}")
        other = self.owners.get(address)
        if other is not None and self.machines[other[0]].running[other[1]].uid not in self.unknown:
            self.wrong(f"{address} has two owners: {key} on {machine.name}, {other[1]} on {other[0]}")
        self.owners[address] = machine.name, key

    def unwired(self, machine: Machine, key: str, address: str) -> None:
        self.say(f"{machine.name} takes {address} from {key}")
        if self.owners.get(address) == (machine.name, key):
            del self.owners[address]

    def _heard(self, role: str, message: Outgoing) -> None:
        kind = message.body[:40]
        if role == KUBE and b'"PodGone"' in kind:
            gone = codec.decode(message.body)
            assert isinstance(gone, PodGone)
            if self._is_there(gone):
                self.denied.append((message.time, gone, self.lies[gone.uid]))
        elif role == IPAM and b'"AddressReleased"' in kind:
            event = codec.decode(message.body)
            assert isinstance(event, AddressReleased)
            key = f"{event.namespace}/{event.name}"
            running = self.machines[event.node].running.get(key)
            if running and running.uid == event.uid and self._is_there(event):
                what = f"{running.address} was taken from {key}, which runs: {event.reason}"
                self.taken.append((event.uid, what))

    def lied_about(self, key: str) -> None:
        """An answer says that the pod is gone, which is there."""
        self.lies[self.kube.truth["pods"][key]["metadata"]["uid"]] += 1

    def _is_there(self, event: PodGone | AddressReleased) -> bool:
        """Whether the API server has the event's pod, and the pod has not finished."""
        pod = self.kube.truth["pods"].get(f"{event.namespace}/{event.name}")
        return bool(pod and pod["metadata"]["uid"] == event.uid and pod["status"]["phase"] != "Succeeded")

    def _logged(self, _logger: Any, method: str, line: MutableMapping[str, Any]) -> str:
        if method in ("warning", "error", "exception") or line.get("event") in ("leading", "checked again"):
            process = asyncio.current_task()
            who = process.get_name() if process else ""
            why = line.get("exc_info") or ""
            self.say(f"[{who}] {line.pop('event')}", **{k: v for k, v in line.items() if k != "exc_info"})
            if self.story[-1].find(MISTAKES[0]) > 0 or self.story[-1].find(MISTAKES[1]) > 0:
                self.wrong(f"a mistake: {why!r}")
        raise structlog.DropEvent
