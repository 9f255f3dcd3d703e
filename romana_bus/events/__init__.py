"""Every shape that is stored on the log, and the subject that each one lives under.

An event is past tense and carries the WHOLE state of its entity after what happened; its subject is
the entity. So the newest message of each subject, alone, rebuilds the present. A tombstone is an event
too: it says that the entity is gone, and leaves the table when the history window has passed.

Fields may be added with a default. A type never changes its meaning: that is a new type, and an
upcaster in `codec.py`. Times are microseconds since the Unix epoch.
"""

from __future__ import annotations

from romana_bus.events.base import IPAM, KUBE, NODE, SPEC, Event, LeaderElected, token
from romana_bus.events.ipam import (
    DENIALS,
    WHILE_IT_RUNS,
    AddressAssigned,
    AddressDenied,
    AddressEvent,
    AddressReleased,
    BlockAssigned,
    BlockReleased,
    CoolingAddress,
    GroupOpened,
    HostDenied,
    HostPlaced,
    HostRemoved,
    IpamEvent,
    Placement,
    PodAddress,
    TopologyAccepted,
    block_token,
)
from romana_bus.events.kube import (
    Fact,
    NamespaceGone,
    NamespaceSeen,
    NodeGone,
    NodeSeen,
    ObjectGone,
    ObjectSeen,
    PodGone,
    PodSeen,
    PolicyGone,
    PolicySeen,
    ResourceListing,
    ResourceSynced,
    object_subject,
    version_number,
)
from romana_bus.events.node import (
    Applied,
    ApplyFailed,
    Audited,
    ForeignWriteSeen,
    MessagesParked,
    ParkedMessage,
    Report,
    SandboxEvent,
    SandboxRemoved,
    SandboxRequested,
    Wired,
)
from romana_bus.events.spec import (
    AddressDisowned,
    Eviction,
    ListingAsked,
    RangeReserved,
    RangeUnreserved,
    TopologySet,
)

#: All of them; what the codec knows.
STORED: tuple[type[Event], ...] = (
    NodeSeen, NodeGone, PodSeen, PodGone, NamespaceSeen, NamespaceGone, PolicySeen, PolicyGone,
    ObjectSeen, ObjectGone, ResourceListing, ResourceSynced,
    TopologySet, RangeReserved, RangeUnreserved, AddressDisowned, ListingAsked,
    LeaderElected,
    TopologyAccepted, GroupOpened, HostPlaced, HostDenied, HostRemoved, BlockAssigned, BlockReleased,
    AddressAssigned, AddressDenied, AddressReleased,
    Applied, ApplyFailed, Wired, Audited, MessagesParked, ForeignWriteSeen, SandboxRequested, SandboxRemoved,
)  # fmt: skip

__all__ = [
    "DENIALS",
    "IPAM",
    "KUBE",
    "NODE",
    "SPEC",
    "STORED",
    "WHILE_IT_RUNS",
    "AddressAssigned",
    "AddressDenied",
    "AddressDisowned",
    "AddressEvent",
    "AddressReleased",
    "Applied",
    "ApplyFailed",
    "Audited",
    "BlockAssigned",
    "BlockReleased",
    "CoolingAddress",
    "Event",
    "Eviction",
    "Fact",
    "ForeignWriteSeen",
    "GroupOpened",
    "HostDenied",
    "HostPlaced",
    "HostRemoved",
    "IpamEvent",
    "LeaderElected",
    "ListingAsked",
    "MessagesParked",
    "NamespaceGone",
    "NamespaceSeen",
    "NodeGone",
    "NodeSeen",
    "ObjectGone",
    "ObjectSeen",
    "ParkedMessage",
    "Placement",
    "PodAddress",
    "PodGone",
    "PodSeen",
    "PolicyGone",
    "PolicySeen",
    "RangeReserved",
    "RangeUnreserved",
    "Report",
    "ResourceListing",
    "ResourceSynced",
    "SandboxEvent",
    "SandboxRemoved",
    "SandboxRequested",
    "TopologyAccepted",
    "TopologySet",
    "Wired",
    "block_token",
    "object_subject",
    "token",
    "version_number",
]
