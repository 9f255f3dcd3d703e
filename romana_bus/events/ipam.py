"""Events of the stream IPAM: the decisions about places, blocks and addresses."""

from __future__ import annotations

import functools
import re
from typing import Any, ClassVar

import msgspec

from romana_bus.events.base import SECOND, Event, Micros, token
from romana_bus.inet import parse_address, parse_prefix

IPAM = "IPAM"


class IpamEvent(Event, frozen=True, kw_only=True):
    role: ClassVar[str] = IPAM


class TopologyAccepted(IpamEvent, frozen=True, kw_only=True):
    """This topology document counts from now on, until another one is accepted: also when a later one cannot
    be used. `document`: as in `TopologySet`; empty for the default topology."""

    document: dict[str, Any] = {}

    def subject(self) -> str:
        return "ipam.topology"


class GroupOpened(IpamEvent, frozen=True, kw_only=True):
    """A group of the default topology was opened, for the nodes with the labels `assignment`."""

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
    """A node was placed. `addresses`: its own. `placements`: one for each network that has a group for it.
    `lacks`: why it has no place in networks of an address family, or ''."""

    node: str
    uid: str
    addresses: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()
    lacks: str = ""

    def flaw(self) -> str:
        return next(filter(None, (bad_prefix(placement.prefix) for placement in self.placements)), "")

    def subject(self) -> str:
        return f"ipam.map.host.{token(self.node)}"


class HostDenied(IpamEvent, frozen=True, kw_only=True):
    """No network has a group for the node. Its pods get no addresses."""

    node: str
    uid: str
    reason: str

    def subject(self) -> str:
        return f"ipam.map.host.{token(self.node)}"


class HostRemoved(IpamEvent, frozen=True, kw_only=True):
    """The node is gone, and so are its pods."""

    tombstone: ClassVar[bool] = True

    node: str
    uid: str

    def subject(self) -> str:
        return f"ipam.map.host.{token(self.node)}"


class BlockAssigned(IpamEvent, frozen=True, kw_only=True):
    """`block` (a CIDR) belongs to `node` from `since` on. `tenant`, `segment`: '*' for a block that serves
    all of them (`block_owner`). The segment `pod:NAME` marks a block of one address for that pod of the
    tenant, which follows the pod to other nodes of its group. (No label's value has a ':'.)"""

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


#: µs for which the order in which blocks were released counts: the one released longest ago is opened first.
ORDER_MEMORY = 3600 * SECOND


class BlockReleased(IpamEvent, frozen=True, kw_only=True):
    """The block was released at `at`. Other nodes may get it from `until` on."""

    tombstone: ClassVar[bool] = True

    network: str
    block: str
    node: str
    at: Micros
    until: Micros

    def flaw(self) -> str:
        return bad_block(self.block)

    def needed_until(self) -> int:
        return max(self.until, self.at + ORDER_MEMORY)

    def subject(self) -> str:
        return f"ipam.map.block.{token(self.node)}.{block_token(self.block)}"


#: Address bits of the largest block. (A block's addresses are the bits of one integer.)
LARGEST_BLOCK = 24


_CIDR = re.compile(r"[0-9a-f.:]+/[0-9]+\Z")


def block_token(cidr: str) -> str:
    """Returns the subject token of a CIDR: `10_0_0_8-29` for `10.0.0.8/29`. Another text never has such a
    token."""
    if _CIDR.match(cidr):
        return cidr.replace(".", "_").replace("/", "-")
    return token(cidr).replace("-", "%2D") if cidr else "-"


@functools.lru_cache(maxsize=4096)
def _prefix(cidr: str) -> tuple[int, int, int, str]:
    """Width, base, end, and what is wrong. Cached: events about one block follow one another on the log."""
    try:
        prefix = parse_prefix(cidr)
    except ValueError as error:
        return 0, 0, 0, str(error)
    return prefix.width, prefix.base, prefix.end, ""


def bad_prefix(cidr: str) -> str:
    """Why the CIDR is not valid, or ''."""
    return _prefix(cidr)[3]


def bad_block(cidr: str) -> str:
    """Why the CIDR cannot be a block, or ''."""
    _, base, end, reason = _prefix(cidr)
    return reason or ("" if end - base <= 1 << LARGEST_BLOCK else f"{cidr} is too large for a block")


def outside(address: str, block: str) -> str:
    """Why the address is not in the block, or ''."""
    width, base, end, reason = _prefix(block)
    if reason := reason or bad_block(block):
        return reason
    try:
        family, value = parse_address(address)
    except ValueError as error:
        return str(error)
    return "" if family == width and base <= value < end else f"{address} is not in its block {block}"


class PodAddress(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """`fixed`: the pod requested this very address (`romana.io/address`)."""

    address: str
    network: str
    block: str
    fixed: bool = False


class CoolingAddress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An address that this pod name released, and that nobody else gets before `until`. `kept`: a pod of the
    same name can have it back (`romana.io/sticky-address`). `uid`: the pod that may still run with it, where
    that is not the event's pod."""

    address: str
    block: str
    until: Micros
    kept: bool = False
    uid: str = ""


#: `until` of an address that was released while its pod may still run with it: until that pod is gone.
WHILE_IT_RUNS = 2**62


class AddressEvent(IpamEvent, frozen=True, kw_only=True):
    """The base of address events. The entity is a pod's name on a node. It has the addresses of the pod
    `uid`, and those of earlier pods of that name that still cool down."""

    namespace: str
    name: str
    uid: str
    node: str
    cooling: tuple[CoolingAddress, ...] = ()

    def flaw(self) -> str:
        return next(filter(None, (outside(old.address, old.block) for old in self.cooling)), "")

    def subject(self) -> str:
        return f"ipam.address.{token(self.node)}.{token(self.namespace)}.{token(self.name)}"


class AddressAssigned(AddressEvent, frozen=True, kw_only=True):
    """The pod got an address of each family that its networks have. `retention`: µs for which the pod's name
    keeps them after the pod is gone; 0 where that was not requested. `requested_retention`: what the pod
    requested, where it got less; else 0. `reason`: why it got less."""

    tenant: str
    segment: str = ""
    addresses: tuple[PodAddress, ...] = ()
    retention: Micros = 0
    requested_retention: Micros = 0
    reason: str = ""

    def flaw(self) -> str:
        for given in self.addresses:
            if reason := outside(given.address, given.block):
                return reason
        addresses = self.addresses
        if len(addresses) > 1 and len({given.address for given in addresses}) < len(addresses):
            return "the same address twice"
        return super().flaw() if self.cooling else ""


class AddressDenied(AddressEvent, frozen=True, kw_only=True):
    """The pod got no address. `reason` is for people, `code` is one of DENIALS. `scope`, for `exhausted`:
    what was full at that time: `block` (the blocks of its node, while the free addresses of the group are in
    blocks of other nodes), `group`, or `network` (all its groups)."""

    code: str
    reason: str
    scope: str = ""


class AddressReleased(AddressEvent, frozen=True, kw_only=True):
    """The pod's name holds no address any more. `reason` is for people."""

    tombstone: ClassVar[bool] = True

    reason: str = ""

    def needed_until(self) -> int:
        return max((old.until for old in self.cooling), default=0)


#: Why a pod has no address: its node is not in the API; its node has no place; no network is for its tenant;
#: what its annotations request cannot be had, or is over a limit of its network; all addresses of its
#: networks for its node are in use.
DENIALS = ("host_unknown", "host_denied", "no_network", "wish", "wish_limit", "exhausted")


#: All events of IPAM.
EVENTS: tuple[type[Event], ...] = (
    TopologyAccepted, GroupOpened, HostPlaced, HostDenied, HostRemoved, BlockAssigned, BlockReleased,
    AddressAssigned, AddressDenied, AddressReleased,
)  # fmt: skip
