"""The settings of IPAM: how addresses are assigned. They are on the log, as `SettingsChanged`."""

from __future__ import annotations

from typing import Literal

import msgspec

from romana_bus.events.base import SECOND
from romana_bus.inet import parse_prefix

#: The default network is split into this many bits of groups.
SLOT_BITS = 3
#: The longest cooldown, µs, and the most spare blocks of a host.
LONGEST_COOLDOWN, MOST_WARM_BLOCKS = 86_400 * SECOND, 64


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`block_owner`: who shares a block: all pods of a host, or those of one tenant there, or of one segment.
    `cooldown`: µs before a released address is assigned again. `warm_blocks`: spare blocks for each host.
    `default_network`: the network as long as no topology is set. `default_block_mask`: prefix length of its
    blocks; 0 for blocks of 16 addresses, or fewer where those do not fit into a slot. `zone_label`: the
    nodes' label whose values are its groups. Raises ValueError; a message with such values is parked."""

    # Every value is stored, also where it is the default: another version may have another default.
    block_owner: Literal["host", "tenant", "segment"] = "host"
    cooldown: int = 30 * SECOND
    warm_blocks: int = 1
    default_network: str = "100.64.0.0/10"
    default_block_mask: int = 0
    zone_label: str = "topology.kubernetes.io/zone"

    def __post_init__(self) -> None:
        if self.block_owner not in ("host", "tenant", "segment"):
            raise ValueError(f"block_owner: {self.block_owner!r}: write host, tenant or segment")
        if not 0 <= self.cooldown <= LONGEST_COOLDOWN:
            raise ValueError(f"cooldown: {self.cooldown}: must be between 0 and {LONGEST_COOLDOWN} µs")
        if not 0 <= self.warm_blocks <= MOST_WARM_BLOCKS:
            raise ValueError(f"warm_blocks: {self.warm_blocks}: must be between 0 and {MOST_WARM_BLOCKS}")
        try:
            prefix = parse_prefix(self.default_network)
        except ValueError as error:
            raise ValueError(f"default_network: {error}") from None
        lowest = max(prefix.length + SLOT_BITS, prefix.width - 16)
        if not lowest <= self.block_mask <= prefix.width:
            wide = prefix.width - SLOT_BITS - 4
            raise ValueError(
                f"default_network: {prefix} is too small to be split into groups: use a /{wide} or larger"
            )

    @property
    def block_mask(self) -> int:
        prefix = parse_prefix(self.default_network)
        return self.default_block_mask or max(prefix.width - 4, prefix.length + SLOT_BITS)
