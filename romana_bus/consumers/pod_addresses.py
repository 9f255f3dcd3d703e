"""The addresses of this node's pods, as the log gives them, for the node's CNI server; and Wired reports.

Reads `ipam.address.<node>.>`, so pods elsewhere cost nothing. Writes NODE: what the kernel has wired. While
the log is out of reach, what was read last is what is known; it is read anew without forgetting that.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog

from romana_bus import tasks
from romana_bus.bus.api import StreamMissing, Unavailable
from romana_bus.events import IPAM, NODE, AddressAssigned, AddressDenied, AddressReleased, Event, Wired, token
from romana_bus.runtime.consumer import Projection
from romana_bus.runtime.feed import Read, outgoing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from romana_bus.bus.api import Store

log = structlog.get_logger(__name__)

#: Seconds in which changes of what is wired become one report; and before a failed one is made again.
COALESCE, AGAIN = 0.5, 1.0
#: Seconds that a report may be behind what was read of the log.
STALE = 5.0


class Named(Protocol):
    """A pod in the kubelet's words; `uid` is '' where the runtime does not say."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...


@dataclass
class Known:
    """The newest word about each pod's name, and the last sequence that is in it."""

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
    """What is known now. `trouble`: why it cannot be believed, until it was read once. `anew`: set when the
    log was read from its beginning, as at the start and where it was lost."""

    def __init__(self) -> None:
        self.trouble = "the log was not read since the agent started"
        self.read, self.anew = asyncio.Event(), asyncio.Event()
        self._known = Known()
        self._news = asyncio.Event()

    @property
    def seq(self) -> int:
        return self._known.seq

    def assigned(self, pod: Named) -> tuple[str, ...]:
        there = self._of(pod)
        return tuple(one.address for one in there.addresses) if isinstance(there, AddressAssigned) else ()

    def denied(self, pod: Named) -> str:
        there = self._of(pod)
        return there.reason if isinstance(there, AddressDenied) else ""

    def bearer(self, pod: Named) -> str:
        there = self._known.pods.get((pod.namespace, pod.name))
        return there.uid if there else ""

    def _of(self, pod: Named) -> AddressAssigned | AddressDenied | None:
        there = self._known.pods.get((pod.namespace, pod.name))
        return there if there is not None and pod.uid in ("", there.uid) else None

    async def news(self) -> None:
        await self._news.wait()

    async def show(self, known: Known) -> None:
        """From now on it is this."""
        if known is not self._known:
            self.anew.set()
        self._known, self.trouble = known, ""
        self.read.set()
        self._news.set()
        self._news = asyncio.Event()


def projection(node: str, addresses: OwnAddresses) -> Projection[Known]:
    return Projection(
        name="cni",
        reads=(Read(IPAM, f"ipam.address.{token(node)}.>"),),
        initial=Known,
        evolve=evolve,
        changed=addresses.show,
    )


async def told_anew(addresses: OwnAddresses, tell: Callable[[], Awaitable[None]]) -> None:
    """For ever: what this node wants of the log, whenever that was read anew."""
    while True:
        await addresses.anew.wait()
        addresses.anew.clear()
        await tell()


async def report_wired(
    store: Store,
    node: str,
    addresses: OwnAddresses,
    changed: asyncio.Event,
    wired: Callable[[], Awaitable[dict[str, str]]],
    stale: float = STALE,
) -> None:
    """For ever: when it starts; when what is wired has changed, at once where `changed` is set; and, within
    `stale` seconds, when more was read, so that audits see that too. Raises Closed, Refused."""
    await addresses.read.wait()
    last: dict[str, str] | None = None
    said, when = -1, 0.0
    while True:
        changed.clear()
        seq = addresses.seq
        due = seq != said and tasks.monotonic() >= when + stale
        try:
            if (there := await wired()) != last or due:
                report = Wired(node=node, consumer="cni", covers={IPAM: seq}, addresses=there)
                await store.publish(NODE, outgoing(report, "", store.clock.now(), store.history))
                last, said, when = there, seq, tasks.monotonic()
        except (Unavailable, StreamMissing, OSError) as error:
            log.info("what is wired could not be reported", why=str(error))
            await asyncio.sleep(AGAIN)
            continue
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(stale):
                await changed.wait()
                await asyncio.sleep(COALESCE)
