"""One cluster of real processes: NATS, a watcher on the lab's API server, two address deciders, and, where
network namespaces can be made, the agent of a node."""

from __future__ import annotations

import contextlib
import json
import signal
import time
import urllib.error
from typing import TYPE_CHECKING, Self

from romana_bus.bus.clock import wall as now
from romana_bus.bus.connect import open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.events import ROLES, SPEC, RangeReserved, TopologySet
from romana_bus.lab.kubeapi.resources import BUILT_IN, PODS, Resource
from romana_bus.runtime.feed import outgoing
from tests.chaos.processes import Process
from tests.cli.api import ApiThread
from tests.cni.calling import Pod, fetched, until, unusable
from tests.cni.node import Governed, Reachable
from tests.conftest import run
from tests.fuzz import standing
from tests.identities import access_to, log_options
from tests.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.bus.api import Message
    from romana_bus.bus.connect import Session
    from tests.fuzz.standing import Standing

CLUSTER = "fuzz"
WIDGETS = Resource("example.org", "v1", "widgets", "Widget", True)
GADGETS = Resource("example.org", "v1", "gadgets", "Gadget", False)
RESOURCES = (*BUILT_IN, WIDGETS, GADGETS)
TOPOLOGY = {
    "networks": [{"name": "net", "cidr": "10.99.0.0/20", "block_mask": 28}],
    "topologies": [{"networks": ["net"], "map": [{"name": "all", "groups": []}]}],
}
#: Pods per node that are there before anything happens.
PODS_EACH = 4
WITHIN = 90.0


class Site:
    """`with Site(directory) as site`: all are up, and every pod has its address."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nats = Reachable(directory / "nats")
        self.api = ApiThread(resources=RESOURCES, bookmark_interval=0.3, lease_interval=0.2)
        self.processes: list[Process] = []
        self.node = None if unusable() else Governed(directory / "node", self.nats, CLUSTER)
        self.pids: dict[str, int] = {}
        self._listen: dict[str, str] = {}
        self._stack = contextlib.ExitStack()
        self._made = 0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.end()
        self._stack.close()

    def _start(self) -> None:
        self._stack.enter_context(self.nats)
        self._stack.enter_context(self.api)
        run(self._wished())
        self.api.node("n1", "a", "192.0.2.1")
        self.api.node("n2", "a", "192.0.2.2")
        resources = [f"--resource={one.group}/{one.version}/{one.plural}" for one in (WIDGETS, GADGETS)]
        self._process("watch", "watch", "--server", self.api.server.url, *resources)
        self._process("ipam-1", "run", "ipam")
        self._process("ipam-2", "run", "ipam")
        if self.node:
            self._stack.enter_context(self.node)
            self.api.node(self.node.name, "a", self.node.address)
            self.node.start()
        for node in self.nodes:
            for _ in range(PODS_EACH):
                self.pod(node)
        self.until_ready()
        self.pids = self._pids()

    async def _wished(self) -> None:
        async with await self.opened() as store:
            for event in (TopologySet(document=TOPOLOGY), RangeReserved(cidr="10.99.0.0/29")):
                await store.publish(SPEC, outgoing(event, "", now(), store.history))

    def _process(self, name: str, *command: str) -> None:
        self._listen[name] = f"127.0.0.1:{free_port()}"
        options = (*log_options(self.nats.url, CLUSTER), "--listen", self._listen[name])
        process = Process(self.directory, name, "romana_bus", *command, *options)
        process.start()
        self.processes.append(process)

    async def opened(self) -> Session:
        return await open_store(access_to(self.nats.url), Layout(CLUSTER), "test", ROLES)

    # --- what is there ------------------------------------------------------------------------------------

    @property
    def nodes(self) -> list[str]:
        return ["n1", "n2", *([self.node.name] if self.node else [])]

    def pod(self, node: str) -> str:
        """One more; gives its name."""
        self._made += 1
        name = f"pod-{self._made}"
        self.api.pod(name, node)
        return name

    def wired(self, name: str) -> None:
        """The pod of that name, on the agent's node, gets its link as a kubelet would ask for it."""
        assert self.node is not None
        raw = self.api.do(lambda: self.api.server.store.get(PODS, f"web/{name}"))
        made = self.node.pod(name)
        uid = json.loads(raw)["metadata"]["uid"]
        pod = Pod(made.netns, made.container, name, uid, "web")
        self.node.added(pod)

    def stands(self) -> Standing:
        found: list[Standing] = []

        async def look() -> None:
            async with await self.opened() as store:
                found.append(await standing.of(store, "web/"))

        run(look())
        return found[0]

    def log(self) -> list[Message]:
        """The newest message of each subject."""
        found: dict[str, Message] = {}

        async def look() -> None:
            async with await self.opened() as store:
                for role in ROLES:
                    async for messages in store.table(role):
                        found.update((message.subject, message) for message in messages)

        run(look())
        return list(found.values())

    # --- how they are ---------------------------------------------------------------------------------------

    def _pids(self) -> dict[str, int]:
        living = {process.name: process.pid for process in self.processes if process.alive}
        if self.node and self.node.agent and self.node.agent.poll() is None:
            living["agent"] = self.node.pid
        return living

    def ended(self) -> list[str]:
        """Who of those that were started is not there any more."""
        living = self._pids()
        return [name for name, pid in self.pids.items() if living.get(name) != pid]

    def until_ready(self) -> None:
        """All say that they are ready, and every pod has its address."""
        last = ["nothing yet"]

        def ready() -> bool:
            last[0] = self._lacking()
            if last[0]:
                time.sleep(0.2)  # to look costs what a boot costs
            return not last[0]

        what = "all are ready and all pods have addresses"
        until(ready, what, lambda: f"{self.words()}\n{last[0][:3000]}", WITHIN)

    def _lacking(self) -> str:
        """What is to be waited for, or ''."""
        if ended := self.ended():
            raise AssertionError(f"ended: {ended}\n{self.words()[-6000:]}")
        not_ready = [f"{name}: {said}" for name in self._listen if (said := self._ready(name))]
        if self.node and not (said := self.node.fetches("readyz")).startswith("ok"):
            not_ready.append(f"agent: {said}")
        if not_ready:
            return "; ".join(not_ready)
        addresses = self.stands().addresses
        pods = [f"web/pod-{number + 1}" for number in range(self._made)]
        return ", ".join(pod for pod in pods if not addresses.get(pod))

    def _ready(self, name: str) -> str:
        """'' where it is, or why not."""
        said = self._fetched(name)
        return "" if said.startswith("ok") else said

    def _fetched(self, name: str) -> str:
        try:
            return fetched(f"http://{self._listen[name]}/readyz")
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()
        except OSError as error:
            return str(error)

    def stop_leader(self) -> None:
        """Of those who give addresses, the one that leads ends, in order."""
        [leader] = [one for one in self.processes if "ipam: leader" in self._fetched(one.name)]
        leader.signal(signal.SIGTERM)
        assert leader.exit_code() == 0, leader.words()[-3000:]
        self.processes.remove(leader)
        del self.pids[leader.name], self._listen[leader.name]

    def words(self) -> str:
        """The end of what everybody said."""
        said = {process.name: process.words() for process in self.processes}
        if self.node:
            said["agent"] = self.node.log()
        return "\n".join(f"--- {name}\n{text[-1500:]}" for name, text in said.items())

    def tracebacks(self) -> list[str]:
        """What nobody should have said."""
        said = {process.name: process.words() for process in self.processes}
        if self.node:
            said["agent"] = self.node.log()
        return [
            f"{name}: {line[:3000]}"
            for name, text in said.items()
            for line in text.splitlines()
            if "Traceback" in line
        ]
