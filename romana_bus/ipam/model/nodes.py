"""Nodes and what they hold; what was deleted; and why a pod's record has to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.events import KUBE, HostDenied, HostPlaced, Placement
from romana_bus.ipam.model.blocks import Block, Chain, ChainKey
from romana_bus.ipam.model.free_space import FreeSpace
from romana_bus.ipam.model.records import Record
from romana_bus.ipam.model.underlay import Claim, addresses_among
from romana_bus.recent import Recent

if TYPE_CHECKING:
    from romana_bus.ipam.model.pods import Pod


class Host(msgspec.Struct, gc=False, eq=False):
    """A node that is in the API (`seen`), or that still holds something. `underlay`: what its agent reported
    that it lives on.

    `index.py` computes the rest: `leaves` (its leaf in each network, -1 for none), `spaces` (the free space
    for tenants without networks of their own), `chains`, and `idle` (its blocks without an address).
    """

    name: str
    seen: bool = False
    uid: str = ""
    version: int = 0
    seq: int = 0
    addresses: tuple[str, ...] = ()
    underlay: tuple[Claim, ...] = ()
    labels: dict[str, str] = {}
    placed: HostPlaced | None = None
    denied: HostDenied | None = None
    blocks: dict[str, Block] = {}
    records: dict[str, Record] = {}
    leaves: tuple[int, ...] = ()
    spaces: tuple[tuple[FreeSpace, ...], ...] = ()
    chains: dict[ChainKey, Chain] = {}
    idle: dict[str, Block] = {}

    @property
    def cause(self) -> str:
        """STREAM/SEQUENCE of the newest fact about it."""
        return fact(self.seq)

    @property
    def claimed(self) -> tuple[Claim, ...]:
        """The addresses that it lives on, which no pod gets."""
        return addresses_among(self.addresses, self.underlay)

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Its place in each network that has a group for it."""
        return self.placed.placements if self.placed else ()

    @property
    def stands(self) -> bool:
        """Whether it is in the API, or has a place or blocks. Without, it only has pods that were denied."""
        return bool(self.seen or self.placed or self.denied or self.blocks)

    @property
    def empty(self) -> bool:
        return not (self.stands or self.records)


class Gone(Recent[tuple[int, int]]):
    """Versions and sequences of entities that were deleted a short time ago. An audit needs the version to
    know what happened after its listing; the sequence is the cause of the decisions that follow."""

    def version(self, name: str) -> int:
        return (self.get(name) or (0, 0))[0]

    def cause(self, name: str) -> str:
        return fact((self.get(name) or (0, 0))[1])


class Ended(msgspec.Struct, gc=False, frozen=True):
    """An order to end `addresses` of the pod `uid`. `cause`: STREAM/SEQUENCE of the order."""

    addresses: frozenset[str]
    reason: str
    cause: str
    uid: str

    def ends(self, record: Record) -> bool:
        """Whether the record holds any of the addresses."""
        return not self.addresses.isdisjoint(record.addresses)


def misfit(host: Host, record: Record, pod: Pod | None) -> str:
    """Why the record has to end, or ''. `pod`: the one that has the record's name on the node."""
    if pod is None:
        return "the pod is gone"
    if (reason := other_pod(host, record, pod)) or record.block is None:
        return reason
    more = [held.block for held in record.rest.more] if record.rest.more else ()
    for block in (record.block, *more):
        if block.node != host.name:
            return f"its block {block.text} belongs to {block.node or 'nobody'}"
    return ""


def other_pod(host: Host, record: Record, pod: Pod) -> str:
    """Why a pod of the same name does not own the record's addresses, or ''."""
    if pod.node != host.name:
        return f"the pod is on node {pod.node} now" if pod.node else "the pod is on no node now"
    if pod.details.unfit:
        return pod.details.unfit
    if record.block is not None and pod.ident != record.ident:
        return "a new pod of the same name took its place"
    return ""


def fact(seq: int) -> str:
    """STREAM/SEQUENCE of a fact; '' where the sequence is not known."""
    return f"{KUBE}/{seq}" if seq else ""


def pod_key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}"


def pod_order(key: str) -> tuple[str, str]:
    """Namespace and name, by which pods are sorted. (The key sorts otherwise: '-' comes before '/'.)"""
    namespace, _, name = key.partition("/")
    return namespace, name
