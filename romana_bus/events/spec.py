"""Events of the stream SPEC: what an operator orders."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from romana_bus.events.base import Count, Event, Micros, token
from romana_bus.events.ipam import bad_prefix
from romana_bus.events.settings import Settings

SPEC = "SPEC"
#: The subject of the settings.
SETTINGS = "spec.settings"


class Eviction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The pod `uid` loses `addresses` on `node`."""

    namespace: str
    name: str
    uid: str
    node: str
    addresses: tuple[str, ...]


class TopologySet(Event, frozen=True, kw_only=True):
    """The topology was set. `document`: Romana's topology document, with `networks` and `topologies`.
    `evict`: the addresses without a place in it that end now; others without a place stay until their pods
    are gone."""

    role: ClassVar[str] = SPEC

    document: dict[str, Any]
    evict: tuple[Eviction, ...] = ()

    def subject(self) -> str:
        return "spec.topology"


class SettingsChanged(Event, frozen=True, kw_only=True):
    """Addresses are assigned by `settings` from now on: by every replica, and by commands that plan."""

    role: ClassVar[str] = SPEC

    settings: Settings

    def subject(self) -> str:
        return SETTINGS


class RangeReserved(Event, frozen=True, kw_only=True):
    """No address of `cidr` is assigned from now on."""

    role: ClassVar[str] = SPEC

    cidr: str

    def flaw(self) -> str:
        return bad_prefix(self.cidr)

    def subject(self) -> str:
        return f"spec.reserve.{token(self.cidr)}"


class RangeUnreserved(Event, frozen=True, kw_only=True):
    """Addresses of `cidr` may be assigned again."""

    role: ClassVar[str] = SPEC
    tombstone: ClassVar[bool] = True

    cidr: str

    def subject(self) -> str:
        return f"spec.reserve.{token(self.cidr)}"


class AddressDisowned(Event, frozen=True, kw_only=True):
    """A correction, by an audit or an operator: the pod `uid` loses `addresses` on `node`. `absent`: the API
    server has no such pod, so it gets no other address either, unless the log has a fact about it after
    KUBE/`covers`. It does not matter any more once it is carried out, so it leaves the table with the history
    window."""

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
    """The watcher has to list `resource` again, since an audit found that the log differs from the API
    server. `at`: when that was requested (µs); a later listing answers it. `believe`: an operator confirms
    that what the listing lacks is gone, so the watcher does not doubt it."""

    role: ClassVar[str] = SPEC
    tombstone: ClassVar[bool] = True

    resource: str
    reason: str
    at: Micros
    believe: bool = False

    def subject(self) -> str:
        return f"spec.listing.{token(self.resource)}"


#: All events of SPEC.
EVENTS: tuple[type[Event], ...] = (
    TopologySet, SettingsChanged, RangeReserved, RangeUnreserved, AddressDisowned, ListingAsked,
)  # fmt: skip
