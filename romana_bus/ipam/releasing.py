"""Which addresses go back, and why. They cool down before anybody gets them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import WHILE_IT_RUNS, AddressReleased, CoolingAddress
from romana_bus.ipam.entities import node_gone, pod_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.ipam.desk import Desk
    from romana_bus.ipam.entities import Cooling, Host, Record
    from romana_bus.ipam.layout import Entry


def release_addresses(desk: Desk, entries: Iterable[Entry]) -> Iterator[None]:
    """Yields behind every one."""
    state = desk.state
    for node, key in sorted(entries, key=lambda entry: (pod_order(entry[1]), entry[0])):
        host = state.hosts.get(node)
        record = host.records.get(key) if host else None
        if host is None or record is None or not (record.held or record.code or lasting(record)):
            continue
        if reason := state.misfit_of_pod(host, record):
            seq = state.node_seq(node) if reason == node_gone(host) else state.pod_seq(key)
            until = state.now + max(state.settings.cooldown, record.retention)
            _release(desk, host, record, reason, until, seq)
            yield
        elif ended := state.ended(host, record):
            _release(desk, host, record, ended.reason, WHILE_IT_RUNS, cause=ended.cause)
            yield


def _release(
    desk: Desk, host: Host, record: Record, reason: str, until: int, seq: int = 0, cause: str = ""
) -> None:
    """Nobody gets the addresses before `until`, but those that others have too."""
    state = desk.state
    still = still_cooling(desk, host, record)
    kept = bool(record.retention) and until != WHILE_IT_RUNS
    ended = [
        CoolingAddress(address=held.block.address(held.offset), block=held.block.text, until=until, kept=kept)
        for held in record.held
        if until > state.now and (held.block.text, held.offset) not in state.shared
    ]
    say_released(desk, host, record, reason, (*still, *ended), seq, cause)


def say_released(
    desk: Desk, host: Host, record: Record, reason: str, cooling: tuple[CoolingAddress, ...], seq: int,
    cause: str = "",
) -> None:  # fmt: skip
    namespace, name = pod_order(record.key)
    event = AddressReleased(
        namespace=namespace, name=name, uid=record.uid, node=host.name, reason=reason, cooling=cooling
    )
    desk.publish(event, seq, cause)


def lasting(record: Record) -> bool:
    """An address was taken from it that its pod may still have."""
    return any(cooling.until == WHILE_IT_RUNS for cooling in record.cooling)


def lapsed(desk: Desk, host: Host, record: Record) -> bool:
    """And no longer has."""
    return any(
        cooling.until == WHILE_IT_RUNS and not _runs_with(desk, host, record, cooling)
        for cooling in record.cooling
    )


def still_cooling(desk: Desk, host: Host, record: Record | None) -> tuple[CoolingAddress, ...]:
    """What every event of the entity says again, so that the newest one alone tells all."""
    if record is None or not record.cooling:
        return ()
    state = desk.state
    again = []
    for old in record.cooling:
        until = old.until
        if until == WHILE_IT_RUNS and not _runs_with(desk, host, record, old):
            until = state.now + state.settings.cooldown
        if until > state.now:
            address = old.block.address(old.offset)
            again.append(CoolingAddress(address=address, block=old.block.text, until=until, kept=old.kept))
    return tuple(again)


def _runs_with(desk: Desk, host: Host, record: Record, cooling: Cooling) -> bool:
    """The pod that lost the address is there, and does not say that it has only others by now."""
    pod = desk.state.pods.get(record.key)
    if pod is None or pod.uid != record.uid or pod.node != host.name or pod.unfit:
        return False
    where = (cooling.block.prefix.width, cooling.block.prefix.base + cooling.offset)
    return not pod.ips or where in pod.reported
