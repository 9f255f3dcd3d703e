"""What a node's kernel has, held against what the log gave out there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.ipam.audit.finding import Finding, wants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.events import Wired
    from romana_bus.ipam.audit.finding import Snapshot
    from romana_bus.ipam.state import State


def wired_otherwise(state: State, snapshot: Snapshot, report: Wired) -> Iterator[Finding]:
    """Of a node that there is: the last report of one that is gone stays in the table for ever."""
    node, host = report.node, state.hosts.get(report.node)
    if node not in snapshot.nodes:
        return
    records = host.records.values() if host else ()
    held = {one.block.address(one.offset): record.key for record in records for one in record.held}
    cooling = {one.block.address(one.offset) for record in records for one in record.cooling}
    for address, pod in sorted(report.addresses.items()):
        owner = held.get(address)
        if owner is None and address not in cooling:
            text = f"{address} is wired on {node}{f' for {pod}' if pod else ''}, and nobody there has it"
            yield Finding(kind="kernel", node=node, pod=pod, address=address, text=text)
        elif owner is not None and pod not in ("", owner):
            text = f"{address} is wired on {node} for {pod}, and {owner} has it"
            yield Finding(kind="kernel", node=node, pod=pod, address=address, text=text)
    for address, key in sorted(held.items()):
        seen = snapshot.pods.get(key)
        if address not in report.addresses and seen and seen.phase == "Running" and wants(seen):
            text = f"{address} of {key} is not wired on {node}"
            yield Finding(kind="kernel", node=node, pod=key, address=address, text=text)
