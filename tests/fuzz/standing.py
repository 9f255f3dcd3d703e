"""The part of a cluster's state that must be the same with and without junk, as read from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.cli.common.ipam_state import ipam_state

if TYPE_CHECKING:
    from romana_bus.bus.api import Store


class Standing(NamedTuple):
    """`addresses`: by pod; `hosts`: where each node is placed; `wanted`: the operator's document."""

    addresses: dict[str, tuple[str, ...]]
    hosts: dict[str, Any]
    wanted: Any
    reserved: tuple[str, ...]

    def without(self, pods: set[str]) -> Standing:
        """These had none before."""
        return self._replace(addresses={pod: one for pod, one in self.addresses.items() if pod not in pods})


async def of(store: Store, namespace: str) -> Standing:
    """Pods of that namespace (`web/`). Raises BusError."""
    state = await ipam_state(store)
    hosts = [host for host in state.hosts.values() if host.placed and host.seen]
    return Standing(
        {
            key: tuple(held.block.address(held.offset) for held in record.held)
            for host in state.hosts.values()
            for key, record in sorted(host.records.items())
            if key.startswith(namespace) and record.held
        },
        {host.name: msgspec.to_builtins(host.placed) for host in sorted(hosts, key=lambda one: one.name)},
        state.wanted,
        tuple(sorted(state.reserves)),
    )
