"""A cluster in one process: an API server, the watcher and the IPAM decider, on one store."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from romana_bus.consumers.ipam import decider
from romana_bus.events import (
    IPAM,
    KUBE,
    AddressAssigned,
    AddressReleased,
    LeaderElected,
    NodeGone,
    PodGone,
    ResourceSynced,
    codec,
)
from romana_bus.ipam import Settings
from romana_bus.kubernetes.api import Api, Target
from romana_bus.lab.kubeapi.resources import NODES, PODS
from romana_bus.lab.kubeapi.wire import head
from romana_bus.producers.kubernetes.watcher import run_watcher
from romana_bus.runtime.loop import run_decider
from tests.lab.apiserver import ApiServer
from tests.lab.faults import Fault
from tests.producers.kubernetes.watching import QUICK, delete
from tests.runtime.small_consumers import events, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from romana_bus.bus.api import Store
    from romana_bus.lab.kubeapi.calls import Call
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.table import Change
    from romana_bus.producers.kubernetes.pages import Limits

    Stores = Callable[..., AbstractAsyncContextManager[Store]]

#: One page holds all; what is doubted, and where the server stands, is asked at once.
LIMITS = QUICK._replace(page=500)
NODE = "n1"


@dataclass
class OfWholeList(Fault):
    """Happens to lists and streaming lists, and not to questions about less."""

    def meets(self, call: Call) -> bool:
        return super().meets(call) and call.query.get("limit") != "1" and "resourceVersion" not in call.query


class Site:
    def __init__(self, store: Store, server: ApiServer) -> None:
        self.store, self.server = store, server

    # --- what happens at the API server -----------------------------------------------------------------

    def node(self, name: str) -> None:
        labels = '"labels":{"topology.kubernetes.io/zone":"a"}'
        status = ',"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}]}'
        self._put(NODES, f'"name":"{name}",{labels}', status)

    def pods(self, *names: str, kind: str = "ADDED", phase: str = "Running") -> None:
        for name in names:
            rest = f',"spec":{{"nodeName":"{NODE}"}},"status":{{"phase":"{phase}"}}'
            self._put(PODS, f'"name":"{name}","namespace":"web","uid":"uid-{name}"', rest, kind)

    def delete(self, *names: str) -> None:
        for name in names:
            delete(self.server, name)

    def _put(self, resource: Resource, metadata: str, rest: str, kind: str = "ADDED") -> None:
        text = f'"metadata":{{{metadata},"resourceVersion":"{self.server.store.version + 1}"}}{rest}}}'
        self.server.apply_recorded(kind, resource, head(resource) + text.encode())

    def expire(self, plural: str = "pods") -> None:
        """The watch of it ends, and the version that it had come to is too old for the next."""
        self.server.faults.append(Fault("watch", plural, below=1 << 60, expired=True))
        self.server.close_watches(plural)

    async def false_events(self, resource: Resource, *changes: Change) -> None:
        """Sends them to the watch, as soon as there is one: after a list it opens a moment later."""

        async def watched() -> bool:
            return self.server.watches(resource.plural) > 0

        await self.until(watched)
        for change in changes:
            self.server.send_event(resource, change)

    # --- what the log has -------------------------------------------------------------------------------

    async def addresses(self) -> dict[str, str]:
        """Of each pod that has one. The table may still have what was replaced."""
        newest: dict[str, object] = {}
        async for batch in self.store.table(IPAM):
            newest |= {message.subject: codec.decode(message.body) for message in batch}
        found = (event for event in newest.values() if isinstance(event, AddressAssigned))
        return {event.name: event.addresses[0].address for event in found}

    async def published(self, role: str = KUBE) -> list[Any]:
        return await events(self.store, role)

    async def gone(self) -> list[str]:
        """The names of deleted objects that the watcher published."""
        return [one.name for one in await self.published() if isinstance(one, PodGone | NodeGone)]

    async def released(self) -> list[str]:
        return [one.name for one in await self.published(IPAM) if isinstance(one, AddressReleased)]

    async def marks(self, resource: str = "pods") -> list[int]:
        """The number of doubted objects in each of the watcher's status events."""
        marks = [one for one in await self.published() if isinstance(one, ResourceSynced)]
        return [one.doubted for one in marks if one.resource == resource]

    async def elections(self) -> int:
        return sum(isinstance(one, LeaderElected) for one in await self.published())

    async def until(self, condition: Callable[[], Any]) -> None:
        """`condition`: a coroutine function."""
        while not await condition():
            await asyncio.sleep(0.02)

    async def until_addressed(self, expected: dict[str, str] | set[str]) -> None:
        """These pods, and no other, have addresses; these ones, where they are given."""

        async def addressed() -> bool:
            found = await self.addresses()
            return found == expected if isinstance(expected, dict) else found.keys() == expected

        await self.until(addressed)

    async def until_gone(self, *names: str) -> None:
        async def gone() -> bool:
            return set(names) <= set(await self.gone())

        await self.until(gone)

    async def until_doubted_and_settled(self) -> None:
        """The watcher has doubted something, and doubts nothing any more."""

        async def settled() -> bool:
            marks = await self.marks()
            return any(marks) and not marks[-1]

        await self.until(settled)


def names(count: int) -> list[str]:
    return [f"p{number:02}" for number in range(count)]


@contextlib.asynccontextmanager
async def standing(
    stores: Stores, pods: int = 24, limits: Limits = LIMITS, **options: Any
) -> AsyncIterator[Site]:
    """A node with so many pods, each with its address. `options`: of the API server."""
    async with stores() as store, ApiServer(**options) as server:
        site = Site(store, server)
        site.node(NODE)
        site.pods(*names(pods))
        api = Api(Target(server=server.url))
        await api.open()
        watching = run_watcher(store, api, "watcher", limits=limits)
        try:
            async with running(watching, run_decider(store, decider(Settings()), "ipam")):
                await site.until_addressed(set(names(pods)))
                yield site
        finally:
            await api.close()
