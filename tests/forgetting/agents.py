"""What a node's agent runs, for `consumers.py`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from romana_bus import events as ev
from romana_bus.bus.memory import MemoryStore
from romana_bus.cni import spec
from romana_bus.cni.server.attachments import Attachment, Attachments
from romana_bus.cni.server.journal import Journal
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.sandbox_requests import SandboxRequests
from romana_bus.consumers import pod_addresses
from romana_bus.consumers.routes import Routes
from romana_bus.events import ROLES
from romana_bus.netlink.monitor import Stale
from tests.routing.routes.kernel_in_memory import FakeForwarding

if TYPE_CHECKING:
    from pathlib import Path

    from tests.forgetting.lives import Names


class NoNews:
    """In place of the kernel's notifications."""

    def take(self) -> Stale:
        return Stale()


class NodeRoutes:
    """The routes of a node whose neighbours come and go."""

    def __init__(self, _: Path) -> None:
        forwarding: Any = FakeForwarding({"10.99.": 2})
        self.routes = Routes("stays", forwarding, NoNews())  # type: ignore[arg-type]
        self.reconciler = self.routes.reconciler()
        self.state = self.reconciler.initial()
        self.seq = 0
        self.reconciler.evolve(self.state, ev.HostPlaced(node="stays", uid="u", addresses=("10.99.9.9",)), 0)

    async def _fold(self, *events: ev.Event, full: bool = False) -> None:
        for event in events:
            self.seq += 1
            self.reconciler.evolve(self.state, event, self.seq)
        if delta := self.reconciler.plan(self.state, await self.reconciler.observe(self.state, full)):
            await self.reconciler.apply(delta)

    async def live(self, life: Names) -> None:
        number = life.number
        address = f"10.99.{number // 20 // 250}.{number // 20 % 250 + 1}"
        placement = ev.Placement(network="net", group=life.group, prefix="10.0.0.0/8")
        if life.begins:
            await self._fold(
                ev.HostPlaced(node=life.node, uid=life.uid, addresses=(address,), placements=(placement,)),
                ev.BlockAssigned(network="net", block=life.block, node=life.node, since=number),
            )
            assert self.routes.kernel.routes
        if life.ends:
            await self._fold(
                ev.HostRemoved(node=life.node, uid=life.uid),
                ev.BlockReleased(network="net", block=life.block, node=life.node, at=number, until=number),
                full=number % 100 == 99,
            )

    async def later(self, seconds: float) -> None:
        await self._fold(full=bool(seconds))

    @property
    def roots(self) -> list[object]:
        return [self.routes, self.reconciler, self.state]


class OwnPods:
    """The decisions about a node's pods."""

    def __init__(self, _: Path) -> None:
        self.addresses = pod_addresses.OwnAddresses()
        self.projection = pod_addresses.projection("stays", self.addresses)
        self.known = self.projection.initial()

    async def live(self, life: Names) -> None:
        pod: dict[str, Any] = {
            "namespace": life.namespace,
            "name": life.pod,
            "uid": life.uid,
            "node": "stays",
        }
        given = ev.PodAddress(address="10.0.0.1", network="net", block="10.0.0.0/28")
        decided: ev.Event = ev.AddressAssigned(**pod, tenant=life.namespace, addresses=(given,))
        if life.number % 3 == 0:
            decided = ev.AddressDenied(**pod, code="exhausted", reason=f"no address for {life.pod}")
        for event in (decided, ev.AddressReleased(**pod, reason=f"{life.pod} is gone")):
            self.projection.evolve(self.known, event, life.number)
        await self.addresses.show(self.known)

    async def later(self, seconds: float) -> None:
        del seconds

    @property
    def roots(self) -> list[object]:
        return [self.projection, self.addresses, self.known]


class AtOnce:
    """In place of the threads: a virtual loop has none."""

    async def run(self, work: Any, *arguments: Any) -> Any:
        return work(*arguments)


class Sandboxes:
    """The requests of a node's sandboxes, from its journal to the log."""

    lives = 1_500  # each takes a file, and a second

    def __init__(self, directory: Path) -> None:
        self.store = MemoryStore()
        threads: Any = AtOnce()
        self.attachments = Attachments(directory / "attachments")
        self.outbox = Outbox("stays", Journal(directory / "journal"), threads)
        self.requests = SandboxRequests("stays", self.attachments, self.outbox, self._runs)
        self._task: asyncio.Task[None] | None = None

    async def _runs(self, _: spec.Pod) -> bool:
        return False

    async def live(self, life: Names) -> None:
        if self._task is None:
            await self.store.prepare(ROLES)
            self._task = asyncio.create_task(self.outbox.run(self.store))
        pod, attached = spec.Pod(life.namespace, life.pod, life.uid), spec.Attached(life.uid, "eth0")
        await self.outbox.put(self.requests.of(pod, life.uid))
        made = Attachment(
            network="net", attached=attached, netns="/n", pod=pod, addresses=("10.0.0.1",), requested=True
        )
        if life.number % 3:
            self.attachments.put(made)
            await asyncio.sleep(1.0)
        attachment = self.attachments.get(attached)
        with self.requests.ending(attachment):
            await self.requests.end(pod, life.uid, was_made=attachment is not None)
            self.attachments.drop(attached)
        self.requests.forget_old()

    async def later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.requests.forget_old()
        assert not self.outbox.waiting()

    @property
    def roots(self) -> list[object]:
        return [self.attachments, self.outbox, self.requests, self._task]
