"""Every shape that is stored on the log, and the subject that each one lives under.

An event is past tense and carries the WHOLE state of its entity after what happened; its subject is
the entity. So the newest message of each subject, alone, rebuilds the present. A tombstone is an event
too: it says that the entity is gone, and leaves the table when the history window has passed.

Fields may be added with a default. A type never changes its meaning: that is a new type, and an
upcaster in `codec.py`. Times are microseconds since the Unix epoch.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

#: The log's roles: one stream each, one writer each (SPEC and NODE: one writer per subject).
KUBE, SPEC, IPAM, NODE = "KUBE", "SPEC", "IPAM", "NODE"

_PLAIN = re.compile(r"[A-Za-z0-9.:-]+\Z")


def token(name: str) -> str:
    """One subject token for a Kubernetes name: `.` is written `_`, anything that NATS could read as
    more than a name is percent-encoded; no name at all is `-`. Two names never give one token."""
    if not name or name == "-":
        return "%2D" if name else "-"
    if _PLAIN.match(name):
        return name.replace(".", "_")
    return quote(name, safe=":").replace("_", "%5F").replace(".", "_")


class Event(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag=True
):
    """What is common to all: a `type` tag in JSON, a subject, and whether it is a tombstone."""

    tombstone: ClassVar[bool] = False
    role: ClassVar[str] = ""

    def subject(self) -> str:
        """The entity's subject, without the cluster's prefix."""
        raise NotImplementedError

    def id(self) -> str:
        """A message id made of the event alone, or '' where the writer has to number it."""
        return ""


# --- KUBE: facts, as the watcher saw them at the API server -----------------------------------------


class Fact(Event, frozen=True, kw_only=True):
    """`resource_version` and `uid` are the API server's. Resource versions of one cluster compare as
    integers (KEP-5504); a fact older than the one held is ignored."""

    role: ClassVar[str] = KUBE

    resource_version: str
    uid: str
    name: str

    def id(self) -> str:
        return f"{self.uid}/{self.resource_version}{'/gone' if self.tombstone else ''}"

    def key(self) -> str:
        """`namespace/name`, with nothing before the slash where there are no namespaces."""
        return f"{getattr(self, 'namespace', '')}/{self.name}"


class NodeSeen(Fact, frozen=True, kw_only=True):
    """`addresses`: the InternalIP entries of `status.addresses` (v1.Node), in the API's order."""

    addresses: tuple[str, ...] = ()
    labels: dict[str, str] = {}

    def subject(self) -> str:
        return f"kube.node.-.{token(self.name)}"


class NodeGone(Fact, frozen=True, kw_only=True):
    tombstone: ClassVar[bool] = True

    def subject(self) -> str:
        return f"kube.node.-.{token(self.name)}"


class PodSeen(Fact, frozen=True, kw_only=True):
    """`node` is '' until the pod is scheduled; `ips`: `status.podIPs`, `phase`: `status.phase` (v1.Pod)."""

    namespace: str
    node: str = ""
    phase: str = ""
    host_network: bool = False
    ips: tuple[str, ...] = ()
    labels: dict[str, str] = {}

    def subject(self) -> str:
        return f"kube.pod.{token(self.namespace)}.{token(self.name)}"


class PodGone(Fact, frozen=True, kw_only=True):
    tombstone: ClassVar[bool] = True

    namespace: str

    def subject(self) -> str:
        return f"kube.pod.{token(self.namespace)}.{token(self.name)}"


class NamespaceSeen(Fact, frozen=True, kw_only=True):
    labels: dict[str, str] = {}

    def subject(self) -> str:
        return f"kube.namespace.-.{token(self.name)}"


class NamespaceGone(Fact, frozen=True, kw_only=True):
    tombstone: ClassVar[bool] = True

    def subject(self) -> str:
        return f"kube.namespace.-.{token(self.name)}"


class PolicySeen(Fact, frozen=True, kw_only=True):
    """`spec`: the NetworkPolicySpec (networking.k8s.io/v1) as the API server gave it."""

    namespace: str
    spec: dict[str, Any] = {}

    def subject(self) -> str:
        return f"kube.policy.{token(self.namespace)}.{token(self.name)}"


class PolicyGone(Fact, frozen=True, kw_only=True):
    tombstone: ClassVar[bool] = True

    namespace: str

    def subject(self) -> str:
        return f"kube.policy.{token(self.namespace)}.{token(self.name)}"


class ObjectSeen(Fact, frozen=True, kw_only=True):
    """Any other kind, watched for a third party. `resource` is `GROUP/VERSION/PLURAL`, `object` what
    was asked for of it, without `metadata.managedFields`."""

    resource: str
    namespace: str = ""
    object: dict[str, Any] = {}

    def subject(self) -> str:
        return object_subject(self.resource, self.namespace, self.name)


class ObjectGone(Fact, frozen=True, kw_only=True):
    tombstone: ClassVar[bool] = True

    resource: str
    namespace: str = ""

    def subject(self) -> str:
        return object_subject(self.resource, self.namespace, self.name)


def object_subject(resource: str, namespace: str, name: str) -> str:
    group, version, plural = resource.split("/")
    return f"kube.object.{token(group)}.{token(version)}.{token(plural)}.{token(namespace)}.{token(name)}"


class ResourceListing(Event, frozen=True, kw_only=True):
    """A full listing of `resource` has begun, so what the log says of it may be behind: nothing is
    swept until it is synced. `rewound`: the API server's own versions went back (its store was restored
    from a backup), so the versions held until now say nothing about the ones to come."""

    role: ClassVar[str] = KUBE

    resource: str
    reason: str
    rewound: bool = False

    def subject(self) -> str:
        return f"kube.synced.-.{token(self.resource)}"


class ResourceSynced(Event, frozen=True, kw_only=True):
    """Everything up to `resource_version` is on the log: a watch may go on from there. `count` is the
    number of entities. `fields` names the set of fields that the facts carry: a watcher that knows
    more of them lists again."""

    role: ClassVar[str] = KUBE

    resource: str
    resource_version: str
    count: int
    fields: str = ""

    def subject(self) -> str:
        return f"kube.synced.-.{token(self.resource)}"


# --- SPEC: what an operator wants --------------------------------------------------------------------


class TopologySet(Event, frozen=True, kw_only=True):
    """`document` is Romana's topology document: `networks` and `topologies`."""

    role: ClassVar[str] = SPEC

    document: dict[str, Any]

    def subject(self) -> str:
        return "spec.topology"


class RangeReserved(Event, frozen=True, kw_only=True):
    """No address of `cidr` is given out from now on."""

    role: ClassVar[str] = SPEC

    cidr: str

    def subject(self) -> str:
        return f"spec.reserve.{token(self.cidr)}"


class RangeUnreserved(Event, frozen=True, kw_only=True):
    role: ClassVar[str] = SPEC
    tombstone: ClassVar[bool] = True

    cidr: str

    def subject(self) -> str:
        return f"spec.reserve.{token(self.cidr)}"


# --- Every fenced stream: who writes it ---------------------------------------------------------------


class LeaderElected(Event, frozen=True, kw_only=True):
    """`holder` writes `stream` from here on. Its predecessor's next publish fails at the fence."""

    stream: str
    term: int
    holder: str

    def subject(self) -> str:
        return f"{self.stream.lower()}.leader"


# --- IPAM: decisions ------------------------------------------------------------------------------------


class IpamEvent(Event, frozen=True, kw_only=True):
    role: ClassVar[str] = IPAM


class GroupOpened(IpamEvent, frozen=True, kw_only=True):
    """Without a topology file: a group of `network` was opened for the nodes that carry `assignment`."""

    network: str
    group: str
    prefix: str
    assignment: dict[str, str] = {}

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
    serves all of them (`block_owner`)."""

    network: str
    block: str
    node: str
    tenant: str = "*"
    segment: str = "*"
    since: int

    def subject(self) -> str:
        return f"ipam.map.block.{token(self.node)}.{block_token(self.block)}"


class BlockReleased(IpamEvent, frozen=True, kw_only=True):
    """Nobody's from `at` on, and free for others from `until` on."""

    tombstone: ClassVar[bool] = True

    network: str
    block: str
    node: str
    at: int
    until: int

    def subject(self) -> str:
        return f"ipam.map.block.{token(self.node)}.{block_token(self.block)}"


def block_token(cidr: str) -> str:
    """`10.0.0.8/29` -> `10_0_0_8-29`: readable, and one token."""
    return cidr.replace(".", "_").replace("/", "-")


class PodAddress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    address: str
    network: str
    block: str


class CoolingAddress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An address that this pod name gave back and that nobody gets before `until`."""

    address: str
    block: str
    until: int


class AddressEvent(IpamEvent, frozen=True, kw_only=True):
    """The entity is a pod's name on a node, whoever bore that name: it holds the addresses of the pod
    `uid`, and those of its predecessors that are still cooling down."""

    namespace: str
    name: str
    uid: str
    node: str
    cooling: tuple[CoolingAddress, ...] = ()

    def subject(self) -> str:
        return f"ipam.address.{token(self.node)}.{token(self.namespace)}.{token(self.name)}"


class AddressAssigned(AddressEvent, frozen=True, kw_only=True):
    """One address for each family that the pod's networks offer."""

    tenant: str
    segment: str = ""
    addresses: tuple[PodAddress, ...] = ()


class AddressDenied(AddressEvent, frozen=True, kw_only=True):
    """`reason` is for people; `code` is one of DENIALS."""

    code: str
    reason: str


class AddressReleased(AddressEvent, frozen=True, kw_only=True):
    tombstone: ClassVar[bool] = True

    reason: str = ""


#: Why a pod has no address: its node is not in the API or not placed; no network takes its tenant;
#: everything that its networks have for its node is in use.
DENIALS = ("host_unknown", "host_denied", "no_network", "exhausted")


# --- NODE: reports ----------------------------------------------------------------------------------------


class Report(Event, frozen=True, kw_only=True):
    """`covers`: for each stream that the reconciler reads, the last sequence that is contained."""

    role: ClassVar[str] = NODE

    node: str
    consumer: str
    covers: dict[str, int] = {}

    def subject(self) -> str:
        return f"node.{token(self.node)}.{token(self.consumer)}"


class Applied(Report, frozen=True, kw_only=True):
    """`changes`: how many changes were made outside; `took`: microseconds."""

    changes: int = 0
    took: int = 0


class ApplyFailed(Report, frozen=True, kw_only=True):
    error: str
    attempt: int = 1


#: All of them; what the codec knows.
STORED: tuple[type[Event], ...] = (
    NodeSeen, NodeGone, PodSeen, PodGone, NamespaceSeen, NamespaceGone, PolicySeen, PolicyGone,
    ObjectSeen, ObjectGone, ResourceListing, ResourceSynced,
    TopologySet, RangeReserved, RangeUnreserved,
    LeaderElected,
    GroupOpened, HostPlaced, HostDenied, HostRemoved, BlockAssigned, BlockReleased,
    AddressAssigned, AddressDenied, AddressReleased,
    Applied, ApplyFailed,
)  # fmt: skip
