"""A small map of hosts and blocks, in few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import BlockAssigned, BlockReleased, HostDenied, HostPlaced, HostRemoved, Placement

if TYPE_CHECKING:
    from romana_bus.events import Event


def placed(node: str, *addresses: str, groups: tuple[str, ...] = ()) -> HostPlaced:
    placements = tuple(Placement(network="net", group="g", prefix=prefix) for prefix in groups)
    return HostPlaced(node=node, uid=f"u-{node}", addresses=addresses, placements=placements)


def denied(node: str) -> HostDenied:
    return HostDenied(node=node, uid=f"u-{node}", reason="fits nowhere")


def removed(node: str) -> HostRemoved:
    return HostRemoved(node=node, uid=f"u-{node}")


def block(node: str, cidr: str, since: int = 1) -> BlockAssigned:
    return BlockAssigned(network="net", block=cidr, node=node, since=since)


def released(node: str, cidr: str) -> BlockReleased:
    return BlockReleased(network="net", block=cidr, node=node, at=1, until=1)


#: Two hosts, this one with a group, one with addresses of both families.
PAIR: list[Event] = [
    placed("me", "10.99.0.1", "fd99::1", groups=("10.1.0.0/16", "fd01::/64")),
    placed("you", "10.99.0.2", "fd99::2"),
    block("me", "10.1.0.0/28"),
    block("you", "10.1.0.16/28"),
    block("you", "10.1.1.0/28"),
    block("you", "fd01::10/124"),
]
