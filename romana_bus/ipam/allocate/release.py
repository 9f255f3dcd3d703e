"""Releases addresses whose pod is gone, moved or finished. They cool down before they are assigned again."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

from romana_bus.events import (
    IPAM,
    NODE,
    WHILE_IT_RUNS,
    AddressEvent,
    BlockAssigned,
    BlockReleased,
)
from romana_bus.ipam.model.nodes import misfit
from romana_bus.ipam.model.pinned import excess, has_excess, retained_until
from romana_bus.ipam.model.records import Cooling, make_record
from romana_bus.ipam.model.sandboxes import bearer, may_run, sandbox
from romana_bus.ipam.model.uids import ident_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import Entry, State
    from romana_bus.ipam.model.uids import Ident

_by_pod = itemgetter(1, 0)


def release_addresses(context: Context, entries: Iterable[Entry]) -> Iterator[None]:
    """Releases what has to end among the entries. Yields whenever there are enough decisions for a part."""
    state = context.state
    hosts = state.hosts
    for node, key in sorted(entries, key=_by_pod):
        host = hosts.get(node)
        record = host.records.get(key) if host else None
        if host is None or record is None or record.empty:
            continue
        if (
            record.block is None
            and not record.rest.code
            and not (has_withheld(record) or has_excess(state, record))
        ):
            continue
        pod = bearer(state, node, key) if state.sandboxes else state.pods.get(key)
        if reason := misfit(host, record, pod):
            cause = _cause_of_end(state, node, key, pod)
            until = state.now + state.settings.cooldown
            if state.sandboxes and may_run(state, host, record):
                until = WHILE_IT_RUNS
            _release(context, host, record, reason, until, cause)
        elif ended := state.ended(host, record):
            _release(context, host, record, ended.reason, WHILE_IT_RUNS, ended.cause)
        elif record.block is not None and has_excess(state, record):
            shorter = record.with_cooling(still_cooling(context, host, record))
            context.address(host, shorter, context.topology_cause)
        if context.full:
            yield


def release_refused(context: Context) -> None:
    """Publishes the end of refused decisions, so that the log alone is right. (A group cannot be closed.)"""
    state = context.state
    for entity in sorted(entity for entity in state.refused if entity[0] != "group"):
        refusal = state.refused.pop(entity)
        event, cause = refusal.event, f"{IPAM}/{refusal.seq}"
        if isinstance(event, BlockAssigned):
            release = BlockReleased(
                network=event.network, block=event.block, node=event.node, at=state.now, until=state.now
            )
            context.publish(release, cause)
        elif isinstance(event, AddressEvent):
            _, node, key = entity
            empty = make_record(key, ident_of(event.uid))
            publish_release(context, state.host(node), empty, f"refused: {refusal.reason}", (), cause)
            context.index.dirty.records.add((node, key))


def _cause_of_end(state: State, node: str, key: str, pod: Pod | None) -> str:
    """The cause of a release: what happened to the pod that has the record's name."""
    if state.removed and (seq := state.removed.get((node, key))):
        return f"{NODE}/{seq}"
    return pod.cause if pod else state.gone_pods.cause(key)


def _release(context: Context, host: Host, record: Record, reason: str, until: int, cause: str) -> None:
    """Releases the addresses: nobody gets them before `until`, and only a pod of their name as long as they
    are retained."""
    state = context.state
    cooling = still_cooling(context, host, record) if record.rest.cooling else ()
    retained = record.rest.retention if until != WHILE_IT_RUNS else 0
    for held in record.held:
        end = until
        if retained:
            end = max(until, retained_until(state, held.block, state.now + retained))
        if end > state.now:
            cooling = (*cooling, Cooling(held.block, held.offset, end, bool(retained)))
    publish_release(context, host, record, reason, cooling, cause)


def publish_release(
    context: Context, host: Host, record: Record, reason: str, cooling: tuple[Cooling, ...], cause: str
) -> None:
    """Ends the record, for the reason given: it keeps `cooling` alone."""
    context.address(host, make_record(record.key, record.ident, cooling=cooling), cause, reason=reason)


def has_withheld(record: Record) -> bool:
    """Whether the record has a withheld address: one that was released while its pod may still run with
    it."""
    return any(cooling.until == WHILE_IT_RUNS for cooling in record.cooling)


def withheld_is_over(context: Context, host: Host, record: Record) -> bool:
    """Whether a pod no longer runs with an address that was withheld for it."""
    return any(
        cooling.until == WHILE_IT_RUNS and not _runs_with(context, host, record, cooling)
        for cooling in record.cooling
    )


def still_cooling(
    context: Context, host: Host, record: Record | None, successor: Ident | None = None
) -> tuple[Cooling, ...]:
    """Returns the addresses of the record that still cool down. Every event of an entity repeats them, since
    only the newest one is kept. `successor`: the uid of the pod that has the name from now on."""
    if record is None or not record.cooling:
        return ()
    state = context.state
    cooling = []
    for old in record.cooling:
        if old.until == WHILE_IT_RUNS:
            if not _runs_with(context, host, record, old):
                old = Cooling(old.block, old.offset, state.now + state.settings.cooldown, old.kept)
            elif successor is not None and successor != record.ident and not old.ident:
                old = Cooling(old.block, old.offset, WHILE_IT_RUNS, old.kept, record.ident)
        if excess(state, old):
            until = retained_until(state, old.block, old.until)
            old = Cooling(old.block, old.offset, until, old.kept, old.ident)
        if old.until > state.now:
            cooling.append(old)
    return tuple(cooling)


def _runs_with(context: Context, host: Host, record: Record, cooling: Cooling) -> bool:
    """Whether the pod that lost the address still runs, and does not report only other addresses."""
    state, ident = context.state, cooling.ident or record.ident
    pod = state.pods.get(record.key)
    if pod is not None and pod.ident == ident and pod.node == host.name and not pod.unfit:
        # With AS_GIVEN the pod has other addresses from us by now, and `reported` is empty.
        return not pod.ips or cooling.numeric in pod.reported
    box = sandbox(state, host.name, record.key)
    return box is not None and box.ident == ident
