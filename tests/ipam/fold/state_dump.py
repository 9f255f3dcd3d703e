"""The state of the address management as plain values, for comparing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.ipam import refusals, wake

if TYPE_CHECKING:
    from romana_bus.ipam import State


def dump(state: State) -> dict[str, Any]:
    """All that decisions depend on."""
    return {
        "hosts": {
            host.name: (
                host.seen, host.uid, host.addresses, host.underlay, host.labels, host.placed, host.denied,
                sorted(host.blocks), {key: record_of(one) for key, one in sorted(host.records.items())},
            )
            for _, host in sorted(state.hosts.items())
        },
        "pods": {key: (pod.node, pod.uid, pod.details) for key, pod in sorted(state.pods.items())},
        "blocks": {
            text: (block.network, block.node, block.tenant, block.segment, block.since, block.used,
                   block.cool, block.at, block.free_at, block.by)
            for text, block in sorted(state.blocks.items())
            if block.node or not block.idle or block.free_at > state.now
        },
        "sandboxes": state.sandboxes,
        "synced": state.synced,
        "doubted": state.doubted,
        "topology": state.in_force,
        "refused": list(refusals(state)),
        "wakes": wake(state),
        "kept": state.kept,
        "excluded": state.excluded.nodes,
    }  # fmt: skip


def record_of(record: Any) -> Any:
    held = [(one.block.text, one.offset) for one in record.held]
    cooling = [(one.block.text, one.offset, one.until, one.kept, one.ident) for one in record.cooling]
    return record.uid, record.segment, held, cooling, record.code, record.reason, record.retention
