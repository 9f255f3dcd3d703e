"""The audit: compares the API server with the log regularly, and orders corrections of what two passes in a
row found.

Reads all streams, and remembers only the findings of the last pass. Writes corrections on SPEC, which the
owners of facts and decisions carry out; on NODE a report, and for deleted nodes the removals of sandboxes
that their kubelets cannot report any more. A pass that fails is repeated.
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
from romana_bus.runtime import alive
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
LAST = Gauge("romana_audit_last_success_timestamp_seconds", "When the last complete audit ended")


#: Seconds within which an agent reports a change of its node, with a margin.
REPORTED_WITHIN = 3.0

Lister = Callable[[str], Awaitable[tuple[Sequence[Fact], str]]]
#: Folds the state of the log now. Takes how far each node's report covers the log.
Fold = Callable[["Store", Mapping[str, int]], Awaitable["State"]]


class Observation(NamedTuple):
    """The result of one pass. `doubt`: why nothing may be concluded from it, or ''. `unsettled`: why nothing
    is corrected yet, or ''."""

    state: State
    snapshot: Snapshot
    wired: tuple[Wired, ...]
    doubt: str
    unsettled: str
    findings: tuple[Finding, ...]


async def observe(
    store: Store,
    lister: Lister,
    fold: Fold,
) -> Observation:
    """One pass: read the API server, then the nodes' reports, then the log to its end. A difference that is
    only a delay is absent from the next pass. Raises Failed, BusError."""
    nodes, nodes_version = await lister("nodes")
    pods, pods_version = await lister("pods")
    snapshot = audit.Snapshot(
        [node for node in nodes if isinstance(node, NodeSeen)],
        [pod for pod in pods if isinstance(pod, PodSeen)],
        {"nodes": nodes_version, "pods": pods_version},
    )
    wired = await _wired(store)
    state = await fold(store, audit.covers(wired))
    if doubt := audit.doubt(state, snapshot):
        return Observation(state, snapshot, wired, doubt, audit.unsettled(state), ())
    # For 150,000 pods this takes some seconds, longer than a leader's lease: so not on the event loop.
    findings = await asyncio.to_thread(audit.findings, state, snapshot, wired)
    if any(finding.kind == "kernel" for finding in findings):
        # A running pod was attached before, but its agent may not have reported it yet.
        await asyncio.sleep(REPORTED_WITHIN)
        wired = await _wired(store)
        kernels = set(audit.wired_otherwise(state, snapshot, wired))
        findings = [finding for finding in findings if finding.kind != "kernel" or finding in kernels]
    return Observation(state, snapshot, wired, "", audit.unsettled(state), tuple(findings))


async def _wired(store: Store) -> tuple[Wired, ...]:
    """The newest Wired report of each node and reconciler: what the agents answer now, or had stored last."""
    reports: dict[str, Wired] = {}
    parked = ParkedMessages("audit")
    async for _, messages in read_once(store, (Read(NODE),), "audit", parked):
        for message in messages:
            if event := parked.read(message, NODE):
                reports.pop(message.subject, None)
            if isinstance(event, Wired):
                reports[message.subject] = event
    answers = await alive.ask(store, reports) if reports else {}
    reports |= {subject: event for subject, event in answers.items() if isinstance(event, Wired)}
    return tuple(reports.values())


async def order(store: Store, wanted: Sequence[Correction]) -> list[Correction]:
    """Publish the corrections that are not pending already; returns them. Raises BusError."""
    ordered = []
    for correction in wanted:
        newest = await store.newest(correction.role, correction.subject())
        if newest is not None:
            mark = await _mark(store, correction)
            if pending(correction, codec.decode(newest.body), mark):
                continue
        try:
            message = outgoing(correction, "", store.clock.now(), store.history)
            await store.publish(correction.role, message, newest.seq if newest is not None else 0)
        except WrongSequence:
            continue  # another process has just ordered it
        ordered.append(correction)
    REPAIRS.inc(len(ordered))
    return ordered


async def _mark(store: Store, correction: Correction) -> object:
    """The newest mark of the listing that a correction asks for."""
    if not isinstance(correction, ListingAsked):
        return None
    newest = await store.newest(KUBE, f"kube.synced.-.{token(correction.resource)}")
    return codec.decode(newest.body) if newest else None


async def is_carried_out(store: Store, order: AddressDisowned) -> bool:
    """Whether the pod's name on that node no longer has any of the addresses. Raises BusError."""
    subject = f"ipam.address.{token(order.node)}.{token(order.namespace)}.{token(order.name)}"
    newest = await store.newest(IPAM, subject)
    decision = codec.decode(newest.body) if newest else None
    held = decision.addresses if isinstance(decision, AddressAssigned) and decision.uid == order.uid else ()
    return not any(assigned.address in order.addresses for assigned in held)


async def run_audit(
    store: Store,
    lister: Lister,
    fold: Fold,
    node: str,
    every: float,
    grace: float,
) -> None:
    """Run a pass every `every` seconds until cancelled. A finding is corrected when two passes in a row, at
    least `grace` seconds apart, have it."""
    auditor = _Auditor(store, node, grace)
    while True:
        await asyncio.sleep(every)
        try:
            await auditor.process(await observe(store, lister, fold))
        except Exception as error:  # noqa: BLE001  an audit must not end the watch: it is logged, and retried
            log.warning("the audit failed", why=str(error) or type(error).__name__)


class _Auditor:
    """`since`: when each finding of the last pass was first found, in passes without a gap. `listed`:
    findings for which a listing was requested; once is enough, since a second one would not help either."""

    def __init__(self, store: Store, node: str, grace: float) -> None:
        self._store, self._node, self._grace = store, node, grace
        self.since: dict[Finding, float] = {}
        self.listed: set[Finding] = set()

    async def process(self, observed: Observation) -> None:
        """Correct and report the findings that persist. Raises BusError."""
        if observed.doubt:
            self.since = {}
            log.error("the audit does not trust what it read", why=observed.doubt)
            return
        now, before = time.monotonic(), self.since
        persistent = [finding for finding in observed.findings if finding.same in before]
        due = [finding for finding in persistent if now - before[finding.same] >= self._grace]
        self.since = {finding.same: before.get(finding.same, now) for finding in observed.findings}
        ordered = [] if observed.unsettled else await self._correct(due, observed.state)
        await self._report(Counter(finding.kind for finding in persistent), len(ordered))
        LAST.set_to_current_time()

    async def _correct(self, due: list[Finding], state: State) -> list[Correction]:
        wanted = [finding for finding in due if finding.same not in self.listed]
        ordered = await order(self._store, corrections(wanted, state, self._store.clock.now()))
        self.listed = {finding.same for finding in due if finding.resource}
        for correction in ordered:
            why = "its node is gone" if isinstance(correction, SandboxRemoved) else correction.reason
            log.warning("the audit corrects", subject=correction.subject(), why=why)
        return ordered

    async def _report(self, counts: Counter[str], repaired: int) -> None:
        """Publish the report if it differs from the last one."""
        for kind in audit.KINDS:
            FINDINGS.labels(kind).set(counts[kind])
        report = Audited(
            node=self._node, consumer="audit", findings=dict(sorted(counts.items())), repaired=repaired
        )
        newest = await self._store.newest(NODE, report.subject())
        if newest is None or codec.decode(newest.body) != report:
            message = outgoing(report, "", self._store.clock.now(), self._store.history)
            await self._store.publish(NODE, message)
