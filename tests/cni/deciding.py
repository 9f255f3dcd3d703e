"""A node's events on the log: those of IPAM about it and its pods, and its own."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

from romana_bus.bus.clock import wall as now
from romana_bus.bus.connect import open_store
from romana_bus.bus.stream_config import DAY, Layout
from romana_bus.events import (
    IPAM,
    NODE,
    ROLES,
    AddressAssigned,
    AddressDenied,
    AddressEvent,
    AddressReleased,
    BlockAssigned,
    BlockReleased,
    HostPlaced,
    Placement,
    PodAddress,
    codec,
)
from romana_bus.runtime.feed import outgoing
from tests.conftest import run
from tests.identities import access_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from romana_bus.bus.api import Store, Tail
    from tests.cni.calling import Pod
    from tests.servers import NatsServer

#: Of the group that every node here is in; and of the node whose pods the tests run.
GROUPS = ("10.77.0.0/16", "fd77::/64")
BLOCKS = ("10.77.0.0/22", "fd77::/118")


class NodeLog:
    """`history`: seconds for which the log keeps what happened."""

    history = 7 * DAY

    def __init__(self, name: str, nats: NatsServer, cluster: str) -> None:
        self.name, self.nats, self.cluster = name, nats, cluster
        self.addressed = 0  # how many address events were told
        self._given = itertools.count(1)

    def fresh(self) -> tuple[str, str]:
        """An address of each family that no pod here had yet."""
        number = next(self._given)
        return f"10.77.{number >> 8}.{number & 255}", f"fd77::{number:x}"

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        """The store that its agent follows."""
        layout = Layout(self.cluster, self.history)
        async with await open_store(access_to(self.nats.url), layout, "test", ROLES) as store:
            yield store

    # --- what IPAM says ---------------------------------------------------------------------------------

    def publish(self, *events: Any) -> None:
        async def write() -> None:
            async with self.opened() as store:
                for event in events:
                    await store.publish(IPAM, outgoing(event, "", now(), store.history))
                    self.addressed += isinstance(event, AddressEvent)

        run(write())

    def placed(self, address: str, node: str = "", blocks: tuple[str, ...] = BLOCKS) -> None:
        """A node has a place and blocks of addresses; this one, where no other is named."""
        node = node or self.name
        places = tuple(Placement(network="net", group="zone", prefix=prefix) for prefix in GROUPS)
        host = HostPlaced(node=node, uid=f"uid-{node}", addresses=(address,), placements=places)
        self.publish(host, *(BlockAssigned(network="net", block=one, node=node, since=1) for one in blocks))

    def block_released(self, node: str, block: str) -> None:
        self.publish(BlockReleased(network="net", block=block, node=node, at=1, until=1))

    def decided(self, pod: Pod, *addresses: str) -> tuple[str, ...]:
        self.publish(self.assigned(pod, *addresses))
        return addresses

    def assigned(self, pod: Pod, *addresses: str) -> AddressAssigned:
        """As IPAM does for a pod that the API shows."""
        given = tuple(PodAddress(address=one, network="net", block=BLOCKS[":" in one]) for one in addresses)
        return AddressAssigned(**self._of(pod), tenant="default", addresses=given)

    def denied(self, pod: Pod, reason: str) -> None:
        self.publish(AddressDenied(**self._of(pod), code="exhausted", reason=reason))

    def released(self, pod: Pod) -> None:
        self.publish(AddressReleased(**self._of(pod)))

    def _of(self, pod: Pod) -> dict[str, Any]:
        return {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "node": self.name}

    # --- what the node says -----------------------------------------------------------------------------

    def newest(self, subject: str) -> Any:
        """The newest event of a subject on the log, or None."""
        found: list[Any] = [None]

        async def look() -> None:
            async with self.opened() as store:
                message = await store.newest(NODE, subject)
                found[0] = codec.decode(message.body) if message else None

        run(look())
        return found[0]

    def newest_of(self, pod: Pod) -> Any:
        return self.newest(f"node.{self.name}.cni.{pod.namespace}.{pod.name}")

    def history_of(self, pod: Pod) -> list[Any]:
        """All sandbox events of that name on the log, oldest first."""
        found: list[Any] = []

        async def look() -> None:
            subject = f"node.{self.name}.cni.{pod.namespace}.{pod.name}"
            async with self.opened() as store:
                seq = 0
                while message := await store.next(NODE, seq, subject):
                    found.append(codec.decode(message.body))
                    seq = message.seq

        run(look())
        return found

    def tail(self) -> Tail:
        """Where IPAM's log begins and ends."""
        found: list[Tail] = []

        async def look() -> None:
            async with self.opened() as store:
                found.append(await store.tail(IPAM))

        run(look())
        return found[0]
