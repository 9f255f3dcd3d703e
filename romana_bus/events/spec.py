"""SPEC: what an operator wants."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from romana_bus.events.base import SPEC, Count, Event, Micros, token
from romana_bus.events.ipam import bad_prefix


class Eviction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the pod `uid` has of `addresses` on `node` ends."""

    namespace: str
    name: str
    uid: str
    node: str
    addresses: tuple[str, ...]


class TopologySet(Event, frozen=True, kw_only=True):
    """`document` is Romana's topology document: `networks` and `topologies`. `evict`: the addresses
    without a place in it that end now; others without one stay until their pods go."""

    role: ClassVar[str] = SPEC

    document: dict[str, Any]
    evict: tuple[Eviction, ...] = ()

    def subject(self) -> str:
        return "spec.topology"


class RangeReserved(Event, frozen=True, kw_only=True):
    """No address of `cidr` is given out from now on."""

    role: ClassVar[str] = SPEC

    cidr: str

    def flaw(self) -> str:
        return bad_prefix(self.cidr)

    def subject(self) -> str:
        return f"spec.reserve.{token(self.cidr)}"


class RangeUnreserved(Event, frozen=True, kw_only=True):
    role: ClassVar[str] = SPEC
    tombstone: ClassVar[bool] = True

    cidr: str

    def subject(self) -> str:
        return f"spec.reserve.{token(self.cidr)}"


class AddressDisowned(Event, frozen=True, kw_only=True):
    """A correction, by an audit or an operator: what the pod `uid` holds of `addresses` on `node` ends.
    `absent`: the API server has no such pod, so unless the log has a fact about it behind KUBE/`covers`, it
    gets no other one either. Nothing of it matters any more once it is done, so it leaves the table with the
    history window."""

    role: ClassVar[str] = SPEC
    tombstone: ClassVar[bool] = True

    namespace: str
    name: str
    uid: str
    node: str
    addresses: tuple[str, ...]
    reason: str
    absent: bool = False
    covers: Count = 0

    def subject(self) -> str:
        return f"spec.disowned.{token(self.node)}.{token(self.namespace)}.{token(self.name)}"


class ListingAsked(Event, frozen=True, kw_only=True):
    """The watcher is to list `resource` once more: an audit found that the log lacks something of it, or
    has something that is no more. `at`: when it was asked (µs); a listing begun later has done it. `believe`:
    an operator knows that what such a listing lacks is gone, so it need not be asked about again."""

    role: ClassVar[str] = SPEC
    tombstone: ClassVar[bool] = True

    resource: str
    reason: str
    at: Micros
    believe: bool = False

    def subject(self) -> str:
        return f"spec.listing.{token(self.resource)}"
