"""Consumers that live through many pods, nodes and groups, without a process around them.

Each has `live(number)`: a pod comes and goes, every 10th time a namespace, every 20th a node, every 100th a
group; `later(seconds)`; and `roots`: what it holds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus import events as ev
from romana_bus.bus.api import Message, Outgoing, Position
from romana_bus.bus.jetstream.refusals import Refusals
from romana_bus.bus.memory import MemoryStore
from romana_bus.bus.writing.write import FencedWriter
from romana_bus.cni import spec
from romana_bus.cni.server.attachments import Attachment, Attachments
from romana_bus.cni.server.journal import Journal
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.sandbox_requests import SandboxRequests
from romana_bus.consumers import pod_addresses
from romana_bus.consumers.routes import Routes
from romana_bus.events import IPAM, KUBE, ROLES, codec
from romana_bus.events.base import SECOND
from romana_bus.netlink.monitor import Stale
from romana_bus.producers.kubernetes import observe, progress
from romana_bus.producers.kubernetes.objects import BUILT_IN, Kind
from romana_bus.producers.kubernetes.progress import Watched
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.parked import ParkedMessages
from tests.ipam.cluster import Cluster, topology
from tests.routing.routes.kernel_in_memory import FakeForwarding

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: A part of every name; and how many lives there are, unless a consumer says so.
GONE, LIVES = "gone-", 10_000


class Names:
    """Of the life with this number."""

    def __init__(self, number: int) -> None:
        self.pod, self.uid = f"{GONE}pod{number}", f"{GONE}uid{number}"
        self.namespace, self.node, self.group = (
            f"{GONE}tenant{number // 10}", f"{GONE}node{number // 20}", f"{GONE}group{number // 100}",
        )  # fmt: skip
        self.number = number
        self.begins, self.ends = number % 20 == 0, number % 20 == 19  # a node
        self.block = f"10.{number // 20 % 4 + 1}.{number // 20 // 4 % 250}.0/28"

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.pod}"


class Ipam:
    """IPAM's state, with topologies whose groups change."""

    def __init__(self, _: Path) -> None:
        self.cluster = Cluster(self._document(f"{GONE}group"))
        self.cluster.node("stays", {"group": "stays"})
        self.cluster.pod("web/stays", "stays")

    def _document(self, group: str) -> dict[str, Any]:
        labels = ({"name": name, "assignment": {"group": name}, "groups": []} for name in ("stays", group))
        return topology("10.0.0.0/22", 30, *labels)

    def _decide(self) -> None:
        self.cluster.table.clear()  # the log is not looked at, and would make it slow
        self.cluster.log.clear()
        self.cluster.decide()

    async def live(self, life: Names) -> None:
        cluster = self.cluster
        if life.number % 100 == 0:
            cluster.send(ev.TopologySet(document=self._document(life.group)))
        if life.begins:
            cluster.node(life.node, {"group": life.group})
            cluster.lives_on(life.node, connected=("192.0.2.0/24",), gateways=("192.0.2.1",))
            cluster.node(f"{life.node}-denied", {"group": "stays"})
            cluster.lives_on(f"{life.node}-denied", gateways=("10.0.0.1", f"10.0.1.{life.number // 20 % 8}"))
            cluster.lives_on(f"{life.node}-unknown", gateways=("10.0.0.1",))
        cluster.pod(life.key, life.node)
        if life.number % 3 == 0:
            cluster.sandbox(life.key, life.node)
        self._decide()
        given = cluster.addresses()[life.key]
        if life.number % 7 == 0:
            cluster.send(
                ev.AddressDisowned(
                    namespace=life.namespace, name=life.pod, uid=f"uid-{life.key}", node=life.node,
                    addresses=(given,), reason="an audit", absent=True, covers=cluster.state.facts,
                )
            )  # fmt: skip
        cluster.no_pod(life.key)
        cluster.no_sandbox(life.key, life.node)
        if life.ends:
            cluster.no_node(life.node)
            cluster.no_node(f"{life.node}-denied")
        self._decide()
        cluster.later(1)

    async def later(self, seconds: float) -> None:
        self.cluster.send(ev.TopologySet(document=topology("10.0.0.0/22", 30)))
        self.cluster.later(seconds)
        self._decide()

    @property
    def roots(self) -> list[object]:
        return [self.cluster.state]


class Watcher:
    """A watcher that leads, and one that follows it: all kinds of resources; some deletions are doubted, and
    believed after another list."""

    def __init__(self, _: Path) -> None:
        self.leading, self.following = Watched(), Watched()
        self.version, self.now = 1, 1000.0
        for kind in BUILT_IN:
            self._publish(observe.begin_listing(self.leading, kind, "test"))
            self._publish(observe.end_listing(self.leading, kind, "1", self.now))

    def _publish(self, events: Iterable[ev.Event]) -> None:
        for event in events:
            progress.evolve(self.following, event)
        self.leading.take_bodies()

    def _tell(self, type: str, kind: Kind, namespace: str, name: str, **more: Any) -> None:
        self.version += 1
        meta = {"namespace": namespace, "name": name, "uid": f"uid-{name}"}
        raw = {"metadata": meta | {"resourceVersion": str(self.version)}, **more}
        item = kind.item.decode(msgspec.json.encode(raw))
        self._publish(observe.changed(self.leading, kind, type, item, self.now))

    async def live(self, life: Names) -> None:
        all_ = [(kind, "" if kind.name in ("nodes", "namespaces") else life.namespace) for kind in BUILT_IN]
        for type in ("ADDED", "MODIFIED", "DELETED"):
            for kind, namespace in all_:
                self._tell(type, kind, namespace, life.pod)
        self.now += 0.01 if life.number % 400 < 200 else 1.0  # first more than are believed at once
        if life.number % 200 == 199:
            await self.later(1)
        self._forget()

    async def later(self, seconds: float) -> None:
        for _ in range(3):  # a few that agree, over half a minute
            self.now += max(seconds, 15.0)
            for kind in (each for each in BUILT_IN if self.leading.of(each.name).absences.keys):
                observe.begin_check(self.leading, kind)
                self._publish(observe.end_check(self.leading, kind, str(self.version), self.now))
        self._forget()

    def _forget(self) -> None:
        for state in (self.leading, self.following):
            progress.forget_old(state, int(self.now * SECOND))

    @property
    def roots(self) -> list[object]:
        return [self.leading, self.following]


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
        attachment = self.attachments.get(*made.key)
        with self.requests.ending(attachment):
            await self.requests.end(pod, life.uid, was_made=attachment is not None)
            self.attachments.drop(*made.key)
        self.requests.forget_old()

    async def later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.requests.forget_old()
        assert not self.outbox.waiting()

    @property
    def roots(self) -> list[object]:
        return [self.attachments, self.outbox, self.requests, self._task]


class Leader:
    """IPAM's writer, and what it says of the parts of its stream."""

    def __init__(self, _: Path) -> None:
        self.store = MemoryStore()
        self.writer: FencedWriter | None = None

    async def _begin(self) -> FencedWriter:
        await self.store.prepare(ROLES)
        self.writer = FencedWriter(self.store, IPAM, Position("epoch-1", 0, ""), 1)
        tail = await self.store.tail(IPAM)
        await self.writer.close()
        self.writer = FencedWriter(self.store, IPAM, Position(tail.epoch, 0, ""), 1)
        await self.writer.elect(outgoing(ev.LeaderElected(stream=IPAM, term=1, holder="h"), "", 1, 3600))
        return self.writer

    async def live(self, life: Names) -> None:
        writer = self.writer or await self._begin()
        pod: dict[str, Any] = {
            "namespace": life.namespace,
            "name": life.pod,
            "uid": life.uid,
            "node": life.node,
        }
        given = ev.PodAddress(address="10.0.0.1", network="net", block="10.0.0.0/28")
        for event in (
            ev.AddressAssigned(**pod, tenant=life.namespace, addresses=(given,)), ev.AddressReleased(**pod)
        ):  # fmt: skip
            await writer.put([outgoing(event, "", 1, 3600)])
        await writer.flush()
        await asyncio.sleep(0.5)
        writer.beat(0)

    async def later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        assert self.writer is not None
        stays = ev.HostDenied(node="stays", uid="u", reason="-")
        await self.writer.put([outgoing(stays, "", 1, 3600)])
        await self.writer.flush()
        self.writer.beat(0)

    @property
    def roots(self) -> list[object]:
        return [self.writer]


class Parking:
    """Messages that cannot be used: each is replaced by one that can be, or expires as a tombstone."""

    def __init__(self, _: Path) -> None:
        self.parked, self.now, self.seq = ParkedMessages("test"), 10**15, 0

    def _message(self, outgoing: Outgoing) -> Message:
        self.seq += 1
        ttl = b"Nats-TTL: %ds\r\n" % outgoing.ttl if outgoing.ttl else b""
        return Message(
            self.seq, outgoing.subject, outgoing.body, b"NATS/1.0\r\n" + ttl + b"\r\n", stored=self.now
        )

    async def live(self, life: Names) -> None:
        pod: dict[str, Any] = {
            "namespace": life.namespace,
            "name": life.pod,
            "uid": life.uid,
            "resource_version": "1",
        }
        gone = ev.PodGone(**pod)
        junk = Outgoing(gone.subject(), b'{"type":"PodVanished"}', ttl=3600 * (life.number % 2))
        self.parked.read(self._message(junk), KUBE)
        if not junk.ttl:
            self.parked.read(self._message(Outgoing(gone.subject(), codec.encode(gone))), KUBE)
        self.now += SECOND
        self.parked.forget_old(self.now)

    async def later(self, seconds: float) -> None:
        self.now += int(6 * seconds) * SECOND
        self.parked.forget_old(self.now)

    @property
    def roots(self) -> list[object]:
        return [self.parked]


class Unstored(MemoryStore):
    """A store that names the subjects of refusals as they are."""

    def not_permitted(self, _: str, subject: str) -> str:
        return subject


class Refused:
    """Subjects that the server refuses: those of the newest few are reported, whatever they name."""

    def __init__(self, _: Path) -> None:
        store: Any = Unstored()
        self.refusals = Refusals(store, "agent", "stays")

    async def live(self, life: Names) -> None:
        self.refusals.take(f'permissions violation for publish to "node.x.cni.web.{life.pod}"')

    async def later(self, seconds: float) -> None:
        del seconds
        for number in range(10):
            self.refusals.take(f'permissions violation for publish to "node.x.{number}"')
        await self.refusals.close()

    @property
    def roots(self) -> list[object]:
        return [self.refusals]


CONSUMERS = (Ipam, Watcher, NodeRoutes, OwnPods, Sandboxes, Leader, Parking, Refused)
