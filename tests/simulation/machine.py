"""The machines of the cluster: a kubelet, an agent, a kernel, and the pods that run there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.bus.api import BusError
from romana_bus.consumers.pod_addresses import OwnAddresses, projection, report_wired, resend_requests
from romana_bus.consumers.routes import READS
from romana_bus.events import NODE, SandboxRemoved, SandboxRequested, codec
from romana_bus.inet import format_address
from romana_bus.routing import derive, evolve, plan, standing
from romana_bus.runtime.consumer import Reconciler
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.loop import run_projection
from romana_bus.runtime.reconcile import run_reconciler
from romana_bus.tasks import until_one_ends
from tests.routing.routes.node_in_memory import World

if TYPE_CHECKING:
    from typing import Any

    from romana_bus.events import Event
    from romana_bus.routing import Delta, Kernel, State
    from tests.simulation.process import Process
    from tests.simulation.site import Site

#: Seconds: between two looks of a kubelet; before a pod without an address is asked for by event; before a
#: runtime has started or ended a pod.
LOOK, ASK = 0.25, 1.0
#: Seconds after which an agent has read again what its node has asked for.
LEFTOVER = 10.0


class Running(NamedTuple):
    """A pod with a sandbox on a machine."""

    uid: str
    address: str


class Pod(NamedTuple):
    namespace: str
    name: str
    uid: str


class Machine:
    """`journal`: events not yet on the log, as on the machine's disk. `running`: by key."""

    def __init__(self, site: Site, name: str, number: int, zone: str) -> None:
        self.site, self.name, self.zone = site, name, zone
        self.address = f"10.99.0.{number + 10}"
        self.running: dict[str, Running] = {}
        self.wanted: dict[str, SandboxRequested] = {}
        self.journal: list[Event] = []
        self.news = asyncio.Event()
        self.world = World(node=name)
        self.addresses = OwnAddresses()
        self.on = True
        self._asked: dict[str, float] = {}

    # --- the agent ------------------------------------------------------------------------------------------

    async def agent(self, process: Process) -> None:
        """What `romana-bus agent` runs, with a kernel and a container runtime of this simulation."""
        store, changed = process.store, asyncio.Event()
        self.addresses = OwnAddresses()

        async def wired() -> dict[str, str]:
            return {one.address: key for key, one in sorted(self.running.items())}

        await until_one_ends([
            run_projection(store, projection(self.name, self.addresses)),
            run_reconciler(store, self._reconciler()),
            self._publish_journal(process),
            self._end_leftover_requests(),
            resend_requests(self.addresses, self._publish_again),
            report_wired(store, self.name, self.addresses, changed, wired),
        ])  # fmt: skip

    def _reconciler(self) -> Reconciler[State]:
        world = self.world

        def initial() -> State:
            world.restarted()
            return world.state

        async def observe(state: State, full: bool) -> Kernel:
            del full
            for address in state.addresses(state.touched):
                if address not in world.kernel.links:
                    world.kernel.answer({address: world.link(format_address(*address))})
            derive(state, world.kernel)
            return world.kernel

        async def apply(delta: Delta) -> int:
            world.apply(delta)
            return 1

        return Reconciler(
            name="routes", node=self.name, reads=READS, initial=initial, evolve=evolve, observe=observe,
            plan=plan, apply=apply, standing=lambda state: standing(state, world.kernel),
        )  # fmt: skip

    async def _publish_journal(self, process: Process) -> None:
        """Runs forever: publishes the journal to the log."""
        while True:
            if not self.journal:
                self.news.clear()
                await self.news.wait()
                continue
            event = self.journal[0]
            store = process.store
            try:
                await store.publish(NODE, outgoing(event, "", store.clock.now(), store.history))
                if self.journal and self.journal[0] is event:
                    self.journal.pop(0)
            except BusError:
                await asyncio.sleep(0.5)

    async def _end_leftover_requests(self) -> None:
        """Runs forever, as `cni/server/logged_requests.py` does: publishes a removal for each request on the
        log that has no sandbox on this machine."""
        while True:
            await asyncio.sleep(LEFTOVER)
            for message in self.site.server.table_at(NODE, 0):
                event = codec.decode(message.body)
                if isinstance(event, SandboxRequested) and event.node == self.name:
                    key = f"{event.namespace}/{event.name}"
                    if key not in self.wanted and all(
                        one.subject() != event.subject() for one in self.journal
                    ):
                        self.publish(_removed(event))

    async def _publish_again(self) -> None:
        for event in self.wanted.values():
            self.publish(event)

    def publish(self, event: Event) -> None:
        """Adds an event to the journal; it replaces an older one of the same subject."""
        self.journal = [one for one in self.journal if one.subject() != event.subject()]
        self.journal.append(event)
        self.news.set()

    # --- the kubelet ----------------------------------------------------------------------------------------

    async def kubelet(self) -> None:
        """Runs while the machine is on: starts the pods of the API for this node, and ends all others."""
        while self.on:
            self._look()
            await asyncio.sleep(LOOK)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        there = {key: pod for key, pod in self.site.kube.truth["pods"].items() if _wants(pod, self.name)}
        for key in [key for key, one in self.running.items() if _uid(there.get(key)) != one.uid]:
            self._end(key)
        for key in [key for key, request in self.wanted.items() if _uid(there.get(key)) != request.uid]:
            self._withdraw_request(key)
        for key, pod in there.items():
            if key not in self.running:
                self._start(key, pod, now)
        self._asked = {key: at for key, at in self._asked.items() if key in there}

    def _start(self, key: str, pod: dict[str, Any], now: float) -> None:
        process = self.site.agents.get(self.name)
        if process is None or not process.runs or self.addresses.trouble:
            return  # the runtime tries again
        namespace, _, name = key.partition("/")
        uid = pod["metadata"]["uid"]
        found = self.addresses.assigned(Pod(namespace, name, uid))
        if found and all(one.address != found[0] for one in self.running.values()):
            self.running[key] = Running(uid, found[0])
            self.site.wired(self, key, found[0])
            self.site.later(self.site.chance.uniform(0.2, 2.0), lambda: self._posted(key, uid, found[0]))
            return
        if now - self._asked.setdefault(key, now) > ASK and key not in self.wanted:
            self.wanted[key] = SandboxRequested(
                node=self.name, namespace=namespace, name=name, uid=uid, sandbox=f"box-{uid}"
            )
            self.publish(self.wanted[key])

    def _posted(self, key: str, uid: str, address: str) -> None:
        """The kubelet tells the API server that it runs."""
        pod = self.site.kube.truth["pods"].get(key)
        if not self.on or pod is None or pod["metadata"]["uid"] != uid or key not in self.running:
            return
        if pod["status"].get("phase") != "Succeeded":
            pod["status"] = {"phase": "Running", "podIPs": [{"ip": address}]}
            self.site.kube.put("pods", key, pod)

    def _end(self, key: str) -> None:
        one = self.running.pop(key)
        self.site.unwired(self, key, one.address)
        if key in self.wanted:
            self._withdraw_request(key)

    def _withdraw_request(self, key: str) -> None:
        self.publish(_removed(self.wanted.pop(key)))

    def power_off(self) -> None:
        self.on = False
        for key in list(self.running):
            self.site.unwired(self, key, self.running.pop(key).address)


def _wants(pod: dict[str, Any], node: str) -> bool:
    return (
        pod["spec"].get("nodeName") == node
        and pod["status"].get("phase") not in ("Succeeded", "Failed")
        and not pod["spec"].get("hostNetwork")
    )


def _removed(request: SandboxRequested) -> SandboxRemoved:
    return SandboxRemoved(
        node=request.node,
        namespace=request.namespace,
        name=request.name,
        uid=request.uid,
        sandbox=request.sandbox,
    )


def _uid(pod: dict[str, Any] | None) -> str:
    return pod["metadata"]["uid"] if pod else ""
