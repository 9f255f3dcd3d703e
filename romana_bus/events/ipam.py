"""IPAM: decisions."""

from __future__ import annotations

import functools
import re
from typing import Any, ClassVar

import msgspec

from romana_bus.events.base import IPAM, Event, Micros, token
from romana_bus.inet import parse_address, parse_prefix


class IpamEvent(Event, frozen=True, kw_only=True):
    role: ClassVar[str] = IPAM


class TopologyAccepted(IpamEvent, frozen=True, kw_only=True):
    """Addresses are given out by this document from now on (`TopologySet.document`; empty: by none, each zone
    has a part of the default network). So where a later one cannot be used, this one still counts."""

    document: dict[str, Any] = {}

    def subject(self) -> str:
        return "ipam.topology"


class GroupOpened(IpamEvent, frozen=True, kw_only=True):
    """Without a topology file: a group of `network` was opened for the nodes that carry `assignment`."""

    network: str
    group: str
    prefix: str
    assignment: dict[str, str] = {}

    def flaw(self) -> str:
        return bad_prefix(self.prefix)

    def subject(self) -> str:
        return f"ipam.map.group.{token(self.network)}.{token(self.group)}"


class Placement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`group`: the path of the leaf group, names joined by '/'; `prefix`: that leaf's CIDR."""

    network: str
    group: str
    prefix: str


class HostPlaced(IpamEvent, frozen=True, kw_only=True):
    """`addresses`: the node's own; `placements`: one for each network that has a group for it."""

    node: str
    uid: str
    addresses: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()

    def flaw(self) -> str:
        return next(filter(None, (bad_prefix(at.prefix) for at in self.placements)), "")

    def subject(self) -> str:
        return f"ipam.map.host.{token(self.node)}"


class HostDenied(IpamEvent, frozen=True, kw_only=True):
    node: str
    uid: str
    reason: str

    def subject(self) -> str:
        return f"ipam.map.host.{token(self.node)}"


class HostRemoved(IpamEvent, frozen=True, kw_only=True):
    tombstone: ClassVar[bool] = True

    node: str
    uid: str

    def subject(self) -> str:
        return f"ipam.map.host.{token(self.node)}"


class BlockAssigned(IpamEvent, frozen=True, kw_only=True):
    """`block` (a CIDR) belongs to `node` since `since`. `tenant` and `segment` are '*' where the block
    serves all of them (`block_owner`). Segment `pod:NAME` (no label's value has a ':'): the block, of one
    address, serves that pod of the tenant alone, and follows it to other nodes of its group."""

    network: str
    block: str
    node: str
    tenant: str = "*"
    segment: str = "*"
    since: Micros

    def flaw(self) -> str:
        return bad_block(self.block)

    def subject(self) -> str:
        return f"ipam.map.block.{token(self.node)}.{block_token(self.block)}"


class BlockReleased(IpamEvent, frozen=True, kw_only=True):
    """Nobody's from `at` on, and free for others from `until` on."""

    tombstone: ClassVar[bool] = True

    network: str
    block: str
    node: str
    at: Micros
    until: Micros

    def flaw(self) -> str:
        return bad_block(self.block)

    def subject(self) -> str:
        return f"ipam.map.block.{token(self.node)}.{block_token(self.block)}"


#: Bits of address that the largest block has: its addresses are bits of one integer.
LARGEST_BLOCK = 24


_CIDR = re.compile(r"[0-9a-f.:]+/[0-9]+\Z")


def block_token(cidr: str) -> str:
    """`10.0.0.8/29` -> `10_0_0_8-29`: readable, and one token. What is no CIDR never gives that of one."""
    if _CIDR.match(cidr):
        return cidr.replace(".", "_").replace("/", "-")
    return token(cidr).replace("-", "%2D") if cidr else "-"


@functools.lru_cache(maxsize=4096)
def _prefix(cidr: str) -> tuple[int, int, int, str]:
    """Width, base, end, and what is wrong with it: its addresses follow one another on the log."""
    try:
        prefix = parse_prefix(cidr)
    except ValueError as error:
        return 0, 0, 0, str(error)
    return prefix.width, prefix.base, prefix.end, ""


def bad_prefix(cidr: str) -> str:
    return _prefix(cidr)[3]


def bad_block(cidr: str) -> str:
    """Why it is no block, or ''."""
    _, base, end, reason = _prefix(cidr)
    return reason or ("" if end - base <= 1 << LARGEST_BLOCK else f"{cidr} is too large for a block")


def astray(address: str, block: str) -> str:
    """Why the address is none of the block, or ''."""
    width, base, end, reason = _prefix(block)
    if reason := reason or bad_block(block):
        return reason
    try:
        family, value = parse_address(address)
    except ValueError as error:
        return str(error)
    return "" if family == width and base <= value < end else f"{address} is not in its block {block}"


class PodAddress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    address: str
    network: str
    block: str


class CoolingAddress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An address that this pod name gave back and that nobody gets before `until`. `kept`: but a pod of
    the same name that wants it back (`romana.io/sticky-address`). `uid`: of the pod that may still run
    with it, where that is not the event's."""

    address: str
    block: str
    until: Micros
    kept: bool = False
    uid: str = ""


#: `until` of an address that was taken from a pod which still runs with it: until that pod is gone.
WHILE_IT_RUNS = 2**62


class AddressEvent(IpamEvent, frozen=True, kw_only=True):
    """The entity is a pod's name on a node, whoever bore that name: it holds the addresses of the pod
    `uid`, and those of its predecessors that are still cooling down."""

    namespace: str
    name: str
    uid: str
    node: str
    cooling: tuple[CoolingAddress, ...] = ()

    def flaw(self) -> str:
        return next(filter(None, (astray(one.address, one.block) for one in self.cooling)), "")

    def subject(self) -> str:
        return f"ipam.address.{token(self.node)}.{token(self.namespace)}.{token(self.name)}"


class AddressAssigned(AddressEvent, frozen=True, kw_only=True):
    """One address for each family that the pod's networks offer. `retention`: µs for which the pod's name
    keeps them when it is gone; 0 where it does not ask for that."""

    tenant: str
    segment: str = ""
    addresses: tuple[PodAddress, ...] = ()
    retention: Micros = 0

    def flaw(self) -> str:
        for one in self.addresses:
            if reason := astray(one.address, one.block):
                return reason
        if len(self.addresses) > 1 and len({one.address for one in self.addresses}) < len(self.addresses):
            return "one address twice"
        return super().flaw() if self.cooling else ""


class AddressDenied(AddressEvent, frozen=True, kw_only=True):
    """`reason` is for people; `code` is one of DENIALS. `scope`, for `exhausted`: what was full when this
    was said: `block` (its node's own blocks, while all of the group's room is in blocks of other nodes),
    `group`, or `network` (every group of it)."""

    code: str
    reason: str
    scope: str = ""


class AddressReleased(AddressEvent, frozen=True, kw_only=True):
    tombstone: ClassVar[bool] = True

    reason: str = ""

    def needed_until(self) -> int:
        return max((one.until for one in self.cooling if one.until != WHILE_IT_RUNS), default=0)


#: Why a pod has no address: its node is not in the API or not placed; no network takes its tenant; what
#: its annotations wish for cannot be had; everything that its networks have for its node is in use.
DENIALS = ("host_unknown", "host_denied", "no_network", "wish", "exhausted")
