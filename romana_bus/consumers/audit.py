"""The audit: looks at the API server and at the log from time to time, and corrects what two looks found.

Reads everything, and keeps nothing but what the look before has found. Writes corrections on SPEC, which
those who own the facts and the decisions carry out; on NODE a report, and for nodes that are gone what their
kubelets cannot say any more. A look that fails is repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import structlog
from prometheus_client import Counter as Total
from prometheus_client import Gauge

from romana_bus.bus.api import WrongSequence
from romana_bus.events import (
    IPAM,
    KUBE,
    NODE,
    AddressAssigned,
    AddressDisowned,
    Audited,
    Fact,
    ListingAsked,
    NodeSeen,
    PodSeen,
    SandboxRemoved,
    Wired,
    codec,
    token,
)
from romana_bus.ipam import audit
from romana_bus.ipam.audit.corrections import corrections, pending
from romana_bus.runtime.feed import Read, outgoing, read_once
from romana_bus.runtime.parked import ParkedMessages

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.ipam import State
    from romana_bus.ipam.audit import Finding, Snapshot
    from romana_bus.ipam.audit.corrections import Correction

log = structlog.get_logger(__name__)

FINDINGS = Gauge("romana_audit_findings", "What the last audit found", ["kind"])
REPAIRS = Total("romana_audit_repairs", "Corrections ordered by audits")
LAST = Gauge("romana_audit_last_success_timestamp_seconds", "When an audit last came to its end")


#: Seconds in which an agent whose node has changed says so, and more.
REPORTED_WITHIN = 3.0

Lister = Callable[[str], Awaitable[tuple[Sequence[Fact], str]]]
#: The state of the log now, given how far each node's report covers it.
Fold = Callable[["Store", Mapping[str, int]], Awaitable["State"]]


class Look(NamedTuple):
    """`doubt`: why nothing may be concluded from it, or ''. `unsettled`: why nothing is corrected yet."""

    state: State
    snapshot: Snapshot
    wired: tuple[Wired, ...]
    doubt: str
    unsettled: str
    findings: tuple[Finding, ...]


async def look(
    store: Store,
    lister: Lister,
    fold: Fold,
) -> Look:
    """The API server first, then what nodes report, then the log up to its end: what is only on its way is
    gone at the next look. Raises Failed, BusError."""
    nodes, at_nodes = await lister("nodes")
    pods, at_pods = await lister("pods")
    snapshot = audit.Snapshot(
        [node for node in nodes if isinstance(node, NodeSeen)],
        [pod for pod in pods if isinstance(pod, PodSeen)],
        {"nodes": at_nodes, "pods": at_pods},
    )
    wired = await _wired(store)
    state = await fold(store, audit.covers(wired))
    if doubt := audit.doubt(state, snapshot):
        return Look(state, snapshot, wired, doubt, audit.unsettled(state), ())
    # Of 150,000 pods this takes some seconds, more than a leader's lease lasts: not on the event loop.
    found = await asyncio.to_thread(audit.findings, state, snapshot, wired)
    if any(one.kind == "kernel" for one in found):
        # A pod that runs was wired before, and its agent may still be about to say so.
        await asyncio.sleep(REPORTED_WITHIN)
        wired = await _wired(store)
        kernels = set(audit.wired_otherwise(state, snapshot, wired))
        found = [one for one in found if one.kind != "kernel" or one in kernels]
    return Look(state, snapshot, wired, "", audit.unsettled(state), tuple(found))


async def _wired(store: Store) -> tuple[Wired, ...]:
    """The newest of each node and reconciler."""
    found: dict[str, Wired] = {}
    flaws = ParkedMessages("audit")
    async for _, messages in read_once(store, (Read(NODE),), "audit", flaws):
        for message in messages:
            if event := flaws.read(message, NODE):
                found.pop(message.subject, None)
            if isinstance(event, Wired):
                found[message.subject] = event
    return tuple(found.values())


async def order(store: Store, wanted: Sequence[Correction]) -> list[Correction]:
    """Publish what was not ordered before; gives that. Raises BusError."""
    ordered = []
    for one in wanted:
        newest = await store.newest(one.role, one.subject())
        if newest is not None and pending(one, codec.decode(newest.body), await _mark(store, one)):
            continue
        try:
            message = outgoing(one, "", store.clock.now(), store.history)
            await store.publish(one.role, message, newest.seq if newest is not None else 0)
        except WrongSequence:
            continue  # somebody else has just ordered it
        ordered.append(one)
    REPAIRS.inc(len(ordered))
    return ordered


async def _mark(store: Store, one: Correction) -> object:
    """How far the listing of what is asked for is."""
    if not isinstance(one, ListingAsked):
        return None
    newest = await store.newest(KUBE, f"kube.synced.-.{token(one.resource)}")
    return codec.decode(newest.body) if newest else None


async def done(store: Store, order: AddressDisowned) -> bool:
    """Whether the pod's name on that node has none of the addresses any more. Raises BusError."""
    subject = f"ipam.address.{token(order.node)}.{token(order.namespace)}.{token(order.name)}"
    newest = await store.newest(IPAM, subject)
    there = codec.decode(newest.body) if newest else None
    held = there.addresses if isinstance(there, AddressAssigned) and there.uid == order.uid else ()
    return not any(one.address in order.addresses for one in held)


async def run_audit(
    store: Store,
    lister: Lister,
    fold: Fold,
    node: str,
    every: float,
    grace: float,
) -> None:
    """For ever. What one look found, and the next one still does, `grace` seconds later at least, is
    corrected."""
    auditor = _Auditor(store, node, grace)
    while True:
        await asyncio.sleep(every)
        try:
            await auditor.heed(await look(store, lister, fold))
        except Exception as error:  # noqa: BLE001  whatever it is: said, and looked again; the watch goes on
            log.warning("the audit could not look", why=str(error) or type(error).__name__)


class _Auditor:
    """`since`: when each finding of the last look was first found, in looks without a gap. `listed`: for
    which of them a listing was asked for; once is enough, if it does not help nothing will."""

    def __init__(self, store: Store, node: str, grace: float) -> None:
        self._store, self._node, self._grace = store, node, grace
        self.since: dict[Finding, float] = {}
        self.listed: set[Finding] = set()

    async def heed(self, seen: Look) -> None:
        """Raises BusError."""
        if seen.doubt:
            self.since = {}
            log.error("the audit does not believe what it sees", why=seen.doubt)
            return
        moment, before = time.monotonic(), self.since
        lasting = [one for one in seen.findings if one.same in before]
        ripe = [one for one in lasting if moment - before[one.same] >= self._grace]
        self.since = {one.same: before.get(one.same, moment) for one in seen.findings}
        ordered = [] if seen.unsettled else await self._correct(ripe, seen.state)
        await self._report(Counter(one.kind for one in lasting), len(ordered))
        LAST.set_to_current_time()

    async def _correct(self, ripe: list[Finding], state: State) -> list[Correction]:
        wanted = [one for one in ripe if one.same not in self.listed]
        ordered = await order(self._store, corrections(wanted, state, self._store.clock.now()))
        self.listed = {one.same for one in ripe if one.resource}
        for one in ordered:
            why = "its node is gone" if isinstance(one, SandboxRemoved) else one.reason
            log.warning("the audit corrects", subject=one.subject(), why=why)
        return ordered

    async def _report(self, counts: Counter[str], repaired: int) -> None:
        """Only where it is news."""
        for kind in audit.KINDS:
            FINDINGS.labels(kind).set(counts[kind])
        report = Audited(
            node=self._node, consumer="audit", findings=dict(sorted(counts.items())), repaired=repaired
        )
        newest = await self._store.newest(NODE, report.subject())
        if newest is None or codec.decode(newest.body) != report:
            message = outgoing(report, "", self._store.clock.now(), self._store.history)
            await self._store.publish(NODE, message)
