"""The addresses of this node's pods, folded from the log for the node's CNI server; and Wired reports.

Reads `ipam.address.<node>.>`, so pods of other nodes cost nothing. Writes NODE: the addresses that the kernel
has attached. While the log is out of reach, the last known addresses count; a rebuild does not forget them.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog

from romana_bus.bus.api import StreamMissing, Unavailable
from romana_bus.events import IPAM, NODE, AddressAssigned, AddressDenied, AddressReleased, Event, Wired, token
from romana_bus.runtime import alive
from romana_bus.runtime.consumer import Projection
from romana_bus.runtime.feed import Read, outgoing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from romana_bus.bus.api import Store

log = structlog.get_logger(__name__)

#: Seconds: within which changes become one report; before a failed report is retried.
COALESCE, RETRY = 0.5, 1.0
#: Seconds between two looks at the kernel.
STALE = 5.0


class Named(Protocol):
    """A pod as the kubelet names it. `uid`: '' if the runtime does not pass it."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...


@dataclass
class Known:
    """The newest decision about each pod's name, and the last sequence that was folded."""

    pods: dict[tuple[str, str], AddressAssigned | AddressDenied] = field(default_factory=dict)
    seq: int = 0


def evolve(known: Known, event: Event, seq: int) -> None:
    known.seq = seq
    match event:
        case AddressAssigned() | AddressDenied():
            known.pods[event.namespace, event.name] = event
        case AddressReleased():
            known.pods.pop((event.namespace, event.name), None)


class OwnAddresses:
    """The current addresses. `trouble`: why they cannot be used yet, or ''. `read`: set once they are known.
    `reread`: set whenever the state was rebuilt, at the start and after the log was lost."""

    def __init__(self) -> None:
        self.trouble = "the log was not read since the agent started"
        self.read, self.reread = asyncio.Event(), asyncio.Event()
        self._known = Known()
        self._changed = asyncio.Event()

    @property
    def seq(self) -> int:
        return self._known.seq

    def assigned(self, pod: Named) -> tuple[str, ...]:
        """The pod's addresses; () if it has none."""
        decision = self._of(pod)
        if not isinstance(decision, AddressAssigned):
            return ()
        return tuple(assigned.address for assigned in decision.addresses)

    def denied(self, pod: Named) -> str:
        """Why the pod was denied addresses, or ''."""
        decision = self._of(pod)
        return decision.reason if isinstance(decision, AddressDenied) else ""

    def uid_of(self, pod: Named) -> str:
        """The uid of the pod that the log knows by this name, or ''."""
        decision = self._known.pods.get((pod.namespace, pod.name))
        return decision.uid if decision else ""

    def _of(self, pod: Named) -> AddressAssigned | AddressDenied | None:
        decision = self._known.pods.get((pod.namespace, pod.name))
        return decision if decision is not None and pod.uid in ("", decision.uid) else None

    async def wait_for_change(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()

    async def show(self, known: Known) -> None:
        """Set the current state, and wake those that wait for a change."""
        if known is not self._known:
            self.reread.set()
        self._known, self.trouble = known, ""
        self.read.set()
        self._changed.set()
        self._changed = asyncio.Event()


def projection(node: str, addresses: OwnAddresses) -> Projection[Known]:
    """The projection for `runtime.consumer` that folds `ipam.address.<node>.>` of the stream IPAM into a
    Known and passes it to `addresses.show`. `node`: the node's name, not yet encoded as a token."""
    return Projection(
        name="cni",
        reads=(Read(IPAM, f"ipam.address.{token(node)}.>"),),
        initial=Known,
        evolve=evolve,
        changed=addresses.show,
    )


async def resend_requests(addresses: OwnAddresses, resend: Callable[[], Awaitable[None]]) -> None:
    """Call `resend` whenever the state was rebuilt, until cancelled: the log may have lost this node's
    requests."""
    while True:
        await addresses.reread.wait()
        addresses.reread.clear()
        await resend()


async def report_wired(
    store: Store,
    node: str,
    addresses: OwnAddresses,
    changed: asyncio.Event,
    wired: Callable[[], Awaitable[dict[str, str]]],
    stale: float = STALE,
) -> None:
    """Publish Wired until cancelled: at the start, and when attached addresses changed, at once if `changed`
    is set, or within `stale` seconds. Who asks gets it at any time, as of the last look, and so learns how
    far this node has read. Raises Closed, Refused."""
    await addresses.read.wait()
    published: dict[str, str] | None = None
    current: Wired | None = None
    silence = await alive.answer(store, lambda: current)
    try:
        while True:
            changed.clear()
            seq = addresses.seq
            try:
                current = Wired(node=node, consumer="cni", covers={IPAM: seq}, addresses=await wired())
                if current.addresses != published:
                    await store.publish(NODE, outgoing(current, "", store.clock.now(), store.history))
                    published = current.addresses
            except (Unavailable, StreamMissing, OSError) as error:
                log.info("attached addresses could not be reported", why=str(error))
                await asyncio.sleep(RETRY)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(stale):
                    await changed.wait()
                    await asyncio.sleep(COALESCE)
    finally:
        await silence()
