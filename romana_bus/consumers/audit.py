"""The audit: looks at the API server and at the log from time to time, and corrects what two looks found.

Reads everything, and keeps nothing but what the look before has found. Writes corrections on SPEC, which
those who own the facts and the decisions carry out, and a report on NODE. A look that fails is repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import structlog
from prometheus_client import Counter as Total
from prometheus_client import Gauge

from romana_bus import codec
from romana_bus.bus.api import BusError, WrongSequence
from romana_bus.errors import RomanaError
from romana_bus.events import NODE, SPEC, Audited, Fact, NodeSeen, PodSeen, Wired
from romana_bus.feed import opened, outgoing
from romana_bus.ipam import audit
from romana_bus.ipam.corrections import corrections, pending
from romana_bus.lead import now

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.ipam import State
    from romana_bus.ipam.audit import Finding, Snapshot
    from romana_bus.ipam.corrections import Correction

log = structlog.get_logger(__name__)

FINDINGS = Gauge("romana_audit_findings", "What the last audit found", ["kind"])
REPAIRS = Total("romana_audit_repairs", "Corrections ordered by audits")
LAST = Gauge("romana_audit_last_success_timestamp_seconds", "When an audit last came to its end")


Lister = Callable[[str], Awaitable[tuple[Sequence[Fact], str]]]


class Look(NamedTuple):
    """`doubt`: why nothing may be concluded from it, or ''."""

    state: State
    snapshot: Snapshot
    wired: tuple[Wired, ...]
    doubt: str
    findings: tuple[Finding, ...]


async def look(
    store: Store,
    lister: Lister,
    fold: Callable[[Store], Awaitable[State]],
) -> Look:
    """The API server first, then the log up to its end: what is only on its way is gone at the next look.
    Raises Failed, BusError."""
    nodes, at_nodes = await lister("nodes")
    pods, at_pods = await lister("pods")
    snapshot = audit.Snapshot(
        [node for node in nodes if isinstance(node, NodeSeen)],
        [pod for pod in pods if isinstance(pod, PodSeen)],
        {"nodes": at_nodes, "pods": at_pods},
    )
    state = await fold(store)
    wired = tuple(await _wired(store))
    doubt = audit.doubt(state, snapshot)
    found = () if doubt else tuple(audit.findings(state, snapshot, wired))
    return Look(state, snapshot, wired, doubt, found)


async def _wired(store: Store) -> list[Wired]:
    found = []
    async for messages in store.table(NODE):
        events = (opened(message, "audit", NODE) for message in messages)
        found += [event for event in events if isinstance(event, Wired)]
    return found


async def order(store: Store, wanted: Sequence[Correction]) -> list[Correction]:
    """Publish what was not ordered before; gives that. Raises BusError."""
    ordered = []
    for one in wanted:
        newest = await store.newest(SPEC, one.subject())
        if newest is not None and pending(one, codec.decode(newest.body)):
            continue
        try:
            await store.publish(
                SPEC, outgoing(one, "", now(), store.history), newest.seq if newest is not None else 0
            )
        except WrongSequence:
            continue  # somebody else has just ordered it
        ordered.append(one)
    REPAIRS.inc(len(ordered))
    return ordered


async def run_audit(
    store: Store,
    lister: Lister,
    fold: Callable[[Store], Awaitable[State]],
    node: str,
    every: float,
    grace: float,
) -> None:
    """For ever. What one look found, and the next one still does, `grace` seconds later at least, is
    corrected."""
    since: dict[Finding, float] = {}
    reported: Audited | None = None
    while True:
        await asyncio.sleep(every)
        try:
            seen = await look(store, lister, fold)
            moment = time.monotonic()
            lasting = [one for one in seen.findings if moment - since.get(one.same, moment + 1) >= grace]
            since = {one.same: since.get(one.same, moment) for one in seen.findings}
            ordered = await order(store, corrections(lasting, seen.snapshot.versions, now()))
            report = _report(node, seen, len(ordered))
            if ordered or report != reported:
                await _publish(store, report)
                reported = report
        except (RomanaError, BusError) as error:
            log.warning("the audit could not look", why=str(error))
            continue
        if seen.doubt:
            log.error("the audit does not believe what it sees", why=seen.doubt)
            continue
        LAST.set_to_current_time()
        for one in ordered:
            log.warning("the audit corrects", subject=one.subject(), why=one.reason)


def _report(node: str, seen: Look, repaired: int) -> Audited:
    counts = Counter(one.kind for one in seen.findings)
    for kind in audit.KINDS:
        FINDINGS.labels(kind).set(counts[kind])
    return Audited(node=node, consumer="audit", findings=dict(sorted(counts.items())), repaired=repaired)


async def _publish(store: Store, report: Audited) -> None:
    await store.publish(NODE, outgoing(report, "", now(), store.history))
