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
from romana_bus.events import IPAM, KUBE, ROLES, codec
from romana_bus.events.base import SECOND
from romana_bus.producers.kubernetes import observe, progress
from romana_bus.producers.kubernetes.objects import BUILT_IN, Kind
from romana_bus.producers.kubernetes.progress import Watched
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.parked import ParkedMessages
from tests.forgetting.agents import NodeRoutes, OwnPods, Sandboxes
from tests.forgetting.lives import GONE, Names
from tests.ipam.cluster import Cluster, topology

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


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
