"""Which addresses go back, and why. They cool down before anybody gets them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import AddressReleased, CoolingAddress
from romana_bus.ipam.entities import misfit, node_gone, pod_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.ipam.desk import Desk
    from romana_bus.ipam.entities import Host, Record
    from romana_bus.ipam.layout import Entry


def release_addresses(desk: Desk, entries: Iterable[Entry]) -> Iterator[None]:
    """Yields behind every one."""
    state = desk.state
    for node, key in sorted(entries, key=lambda entry: (pod_order(entry[1]), entry[0])):
        host = state.hosts.get(node)
        record = host.records.get(key) if host else None
        if host is None or record is None or not (record.held or record.code):
            continue
        if reason := misfit(host, record, state.pods.get(key)):
            seq = state.node_seq(node) if reason == node_gone(host) else state.pod_seq(key)
            _release(desk, host, record, reason, seq)
            yield


def _release(desk: Desk, host: Host, record: Record, reason: str, seq: int) -> None:
    until = desk.state.now + desk.state.settings.cooldown
    ended = [
        CoolingAddress(address=held.block.address(held.offset), block=held.block.text, until=until)
        for held in record.held
        if until > desk.state.now
    ]
    namespace, name = pod_order(record.key)
    event = AddressReleased(
        namespace=namespace,
        name=name,
        uid=record.uid,
        node=host.name,
        reason=reason,
        cooling=(*still_cooling(desk, record), *ended),
    )
    desk.publish(event, seq)


def still_cooling(desk: Desk, record: Record | None) -> tuple[CoolingAddress, ...]:
    """What every event of the entity says again, so that the newest one alone tells all."""
    if record is None or not record.cooling:
        return ()
    return tuple(
        CoolingAddress(address=old.block.address(old.offset), block=old.block.text, until=old.until)
        for old in record.cooling
        if old.until > desk.state.now
    )
