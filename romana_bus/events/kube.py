"""Events of the stream KUBE: facts, as the watcher saw them at the API server."""

from __future__ import annotations

from typing import Any, ClassVar

from romana_bus.events.base import Count, Event, Micros, token

KUBE = "KUBE"

#: Digits of the largest unsigned 64-bit number: a longer resource version is not read as a number.
DIGITS = 20


def version_number(version: str) -> int:
    """The resource version as a number (KEP-5504); 0 where it is not one, as in some aggregated APIs."""
    usable = len(version) <= DIGITS and version.isascii() and version.isdecimal()
    return int(version) if usable else 0


class Fact(Event, frozen=True, kw_only=True):
    """The base of facts. `resource_version`, `uid`: the API server's. `listing`: the number of the listing in
    which, or after which, the entity was seen.

    Within one listing, versions compare as integers (KEP-5504). A later listing replaces everything, whatever
    its versions are. The watcher, which alone writes facts, leaves out older versions than it has written: so
    readers use the newest message of each subject."""

    role: ClassVar[str] = KUBE

    resource_version: str
    listing: Count = 0
    uid: str
    name: str

    def key(self) -> str:
        """`namespace/name`; `/name` for a resource without namespaces."""
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
    """`node` is '' until the pod is scheduled; `ips`: `status.podIPs`, `phase`: `status.phase` (v1.Pod);
    `annotations`: those whose key begins with `romana.io/`, which request addresses. `static`: for a mirror
    pod, the uid of its static pod (annotation `kubernetes.io/config.mirror`)."""

    namespace: str
    node: str = ""
    phase: str = ""
    host_network: bool = False
    ips: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    static: str = ""

    @property
    def kubelet_uid(self) -> str:
        """The uid by which the kubelet, and so the CNI server, knows the pod."""
        return self.static or self.uid

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
    """An object of another kind, watched for a third party. `resource`: `GROUP/VERSION/PLURAL`. `object`: the
    requested fields of it, without `metadata.managedFields`."""

    resource: str
    namespace: str = ""
    object: dict[str, Any] = {}

    def flaw(self) -> str:
        return _bad_resource(self.resource)

    def subject(self) -> str:
        return object_subject(self.resource, self.namespace, self.name)


class ObjectGone(Fact, frozen=True, kw_only=True):
    """The object of an ObjectSeen was deleted. `resource`: `GROUP/VERSION/PLURAL`."""

    tombstone: ClassVar[bool] = True

    resource: str
    namespace: str = ""

    def flaw(self) -> str:
        return _bad_resource(self.resource)

    def subject(self) -> str:
        return object_subject(self.resource, self.namespace, self.name)


def _bad_resource(resource: str) -> str:
    """Why the text does not name a resource, or ''."""
    return "" if resource.count("/") == 2 else f"{resource!r} is not GROUP/VERSION/PLURAL"


def object_subject(resource: str, namespace: str, name: str) -> str:
    return f"kube.object.{'.'.join(map(token, resource.split('/')))}.{token(namespace)}.{token(name)}"


class ResourceListing(Event, frozen=True, kw_only=True):
    """A full listing of `resource` has begun: the log may lag behind until `ResourceSynced`, and nothing is
    swept until then. `number`: counts the listings. `rewound`: the API server's versions went back (its store
    was restored from a backup), so all facts are written again. `asked`: the `ListingAsked.at` that this
    answers; 0 for none."""

    role: ClassVar[str] = KUBE

    resource: str
    reason: str
    number: Count = 0
    rewound: bool = False
    asked: Micros = 0

    def subject(self) -> str:
        return f"kube.synced.-.{token(self.resource)}"


#: Missing entities are much if they are more than MANY, and more than one in SHARE of all.
MANY, SHARE = 10, 5


def is_much(missing: int, held: int) -> bool:
    """Whether too many of a resource's `held` entities are missing to believe one or two listings."""
    return missing > MANY and missing * SHARE > held


class ResourceSynced(Event, frozen=True, kw_only=True):
    """Everything up to `resource_version` is on the log: a watch can continue from there. `number`: of the
    last listing. `count`: entities on the log. `doubted`: how many of them the API server does not show; the
    watcher lists again before they count as gone. `fields`: names the set of fields in the facts; a watcher
    that knows more fields lists again. `asked`: as in ResourceListing."""

    role: ClassVar[str] = KUBE

    resource: str
    resource_version: str
    number: Count = 0
    count: Count
    doubted: Count = 0
    fields: str = ""
    asked: Micros = 0

    def subject(self) -> str:
        return f"kube.synced.-.{token(self.resource)}"


#: All events of KUBE.
EVENTS: tuple[type[Event], ...] = (
    NodeSeen, NodeGone, PodSeen, PodGone, NamespaceSeen, NamespaceGone, PolicySeen, PolicyGone,
    ObjectSeen, ObjectGone, ResourceListing, ResourceSynced,
)  # fmt: skip
