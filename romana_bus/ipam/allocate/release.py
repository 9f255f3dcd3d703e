"""Which addresses go back, and why. They cool down before anybody gets them again."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

from romana_bus.events import (
    IPAM,
    NODE,
    WHILE_IT_RUNS,
    AddressEvent,
    AddressReleased,
    BlockAssigned,
    BlockReleased,
    CoolingAddress,
)
from romana_bus.ipam.model.nodes import misfit
from romana_bus.ipam.model.records import Cooling, Record, remaining
from romana_bus.ipam.model.sandboxes import bearer, may_run, sandbox
from romana_bus.ipam.model.uids import ident_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.index import Entry
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.model.uids import Ident

_by_pod = itemgetter(1, 0)


def release_addresses(context: Context, entries: Iterable[Entry]) -> Iterator[None]:
    """Yields wherever there is enough for a part."""
    state = context.state
    hosts = state.hosts
    for node, key in sorted(entries, key=_by_pod):
        host = hosts.get(node)
        record = host.records.get(key) if host else None
        if host is None or record is None or record.empty:
            continue
        if record.block is None and not record.rest.code and not lasting(record):
            continue
        pod = bearer(state, node, key) if state.sandboxes else state.pods.get(key)
        if reason := misfit(host, record, pod):
            cause = _told_by(state, node, key, pod)
            until = state.now + max(state.settings.cooldown, record.retention)
            if state.sandboxes and may_run(state, host, record):
                until = WHILE_IT_RUNS
            _release(context, host, record, reason, until, cause)
        elif ended := state.ended(host, record):
            _release(context, host, record, ended.reason, WHILE_IT_RUNS, ended.cause)
        if context.full:
            yield


def release_refused(context: Context) -> None:
    """What the log says and nobody believes is taken back there, so that it misleads nobody who reads only
    that. (A group that was opened cannot be.)"""
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
            empty = Record(key, ident_of(event.uid), "", None, 0, remaining((), ()))
            say_released(context, state.host(node), empty, f"refused: {refusal.reason}", (), cause)
            context.index.dirty.records.add((node, key))


def _told_by(state: State, node: str, key: str, pod: Pod | None) -> str:
    """What led to the end of a record, whose name is `pod`'s by now."""
    if state.removed and (seq := state.removed.get((node, key))):
        return f"{NODE}/{seq}"
    return pod.cause if pod else state.gone_pods.cause(key)


def _release(context: Context, host: Host, record: Record, reason: str, until: int, cause: str) -> None:
    """Nobody gets the addresses before `until`."""
    state = context.state
    cooling = still_cooling(context, host, record) if record.rest.cooling else ()
    if until > state.now:
        kept = bool(record.retention) and until != WHILE_IT_RUNS
        cooling = (*cooling, *(Cooling(held.block, held.offset, until, kept) for held in record.held))
    say_released(context, host, record, reason, cooling, cause)


def say_released(
    context: Context, host: Host, record: Record, reason: str, cooling: tuple[Cooling, ...], cause: str
) -> None:
    namespace, _, name = record.key.partition("/")
    event = AddressReleased(
        namespace=namespace, name=name, uid=record.uid, node=host.name, reason=reason, cooling=told(cooling)
    )
    rest = remaining((), cooling)
    context.address(host, Record(record.key, record.ident, "", None, 0, rest), event, cause)


def told(cooling: tuple[Cooling, ...]) -> tuple[CoolingAddress, ...]:
    """As an event says it."""
    if not cooling:
        return ()
    return tuple(
        [
            CoolingAddress(
                address=one.address,
                block=one.block.text,
                until=one.until,
                kept=one.kept,
                uid=text_of(one.ident) if one.ident else "",
            )
            for one in cooling
        ]
    )


def lasting(record: Record) -> bool:
    """An address was taken from it that its pod may still have."""
    return any(cooling.until == WHILE_IT_RUNS for cooling in record.cooling)


def lapsed(context: Context, host: Host, record: Record) -> bool:
    """And no longer has."""
    return any(
        cooling.until == WHILE_IT_RUNS and not _runs_with(context, host, record, cooling)
        for cooling in record.cooling
    )


def still_cooling(
    context: Context, host: Host, record: Record | None, heir: Ident | None = None
) -> tuple[Cooling, ...]:
    """What every event of the entity says again, so that the newest one alone tells all. `heir`: the uid of
    the pod that the name is, from here on."""
    if record is None or not record.cooling:
        return ()
    state = context.state
    again = []
    for old in record.cooling:
        if old.until == WHILE_IT_RUNS:
            if not _runs_with(context, host, record, old):
                old = Cooling(old.block, old.offset, state.now + state.settings.cooldown, old.kept)
            elif heir is not None and heir != record.ident and not old.ident:
                old = Cooling(old.block, old.offset, WHILE_IT_RUNS, old.kept, record.ident)
        if old.until > state.now:
            again.append(old)
    return tuple(again)


def _runs_with(context: Context, host: Host, record: Record, cooling: Cooling) -> bool:
    """The pod that lost the address is there, and does not say that it has only others by now."""
    state, ident = context.state, cooling.ident or record.ident
    pod = state.pods.get(record.key)
    if pod is not None and pod.ident == ident and pod.node == host.name and not pod.unfit:
        # With AS_GIVEN the pod has other addresses from us by now, and `reported` is empty.
        return not pod.ips or cooling.numeric in pod.reported
    box = sandbox(state, host.name, record.key)
    return box is not None and box.ident == ident
