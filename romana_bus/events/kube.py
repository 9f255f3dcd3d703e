"""KUBE: facts, as the watcher saw them at the API server."""

from __future__ import annotations

from typing import Any, ClassVar

from romana_bus.events.base import KUBE, Count, Event, Micros, token

#: Digits of an unsigned 64-bit number: the longest resource version that is read as one.
DIGITS = 20


def version_number(version: str) -> int:
    """A resource version as a number (KEP-5504); 0 where it is none, as some aggregated APIs have it."""
    usable = len(version) <= DIGITS and version.isascii() and version.isdecimal()
    return int(version) if usable else 0


class Fact(Event, frozen=True, kw_only=True):
    """`resource_version` and `uid` are the API server's. `listing`: the number of the listing of the resource
    that it was seen in, or behind. Within one listing, versions compare as integers (KEP-5504); a later
    listing is a new word on everything, whatever versions it brings. The watcher, which alone writes facts,
    leaves out what is older than what it has told: readers take the newest message of each subject."""

    role: ClassVar[str] = KUBE

    resource_version: str
    listing: Count = 0
    uid: str
    name: str

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
    """`node` is '' until the pod is scheduled; `ips`: `status.podIPs`, `phase`: `status.phase` (v1.Pod);
    `annotations`: those of them whose key begins with `romana.io/`, the pod's wishes. `static`: of a mirror,
    which shows a static pod in the API, that pod's own uid (annotation `kubernetes.io/config.mirror`)."""

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
        """By which the kubelet knows it, and a CNI server therefore."""
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
    """Any other kind, watched for a third party. `resource` is `GROUP/VERSION/PLURAL`, `object` what
    was asked for of it, without `metadata.managedFields`."""

    resource: str
    namespace: str = ""
    object: dict[str, Any] = {}

    def flaw(self) -> str:
        return _bad_resource(self.resource)

    def subject(self) -> str:
        return object_subject(self.resource, self.namespace, self.name)


class ObjectGone(Fact, frozen=True, kw_only=True):
    tombstone: ClassVar[bool] = True

    resource: str
    namespace: str = ""

    def flaw(self) -> str:
        return _bad_resource(self.resource)

    def subject(self) -> str:
        return object_subject(self.resource, self.namespace, self.name)


def _bad_resource(resource: str) -> str:
    """Why it names none, or ''."""
    return "" if resource.count("/") == 2 else f"{resource!r} is not GROUP/VERSION/PLURAL"


def object_subject(resource: str, namespace: str, name: str) -> str:
    return f"kube.object.{'.'.join(map(token, resource.split('/')))}.{token(namespace)}.{token(name)}"


class ResourceListing(Event, frozen=True, kw_only=True):
    """A full listing of `resource` has begun, its `number`-th, so what the log says of it may be behind:
    nothing is swept until it is synced. `rewound`: the API server's own versions went back (its store was
    restored from a backup), so all facts are told anew. `asked`: the `ListingAsked.at` that this answers, 0
    for none."""

    role: ClassVar[str] = KUBE

    resource: str
    reason: str
    number: Count = 0
    rewound: bool = False
    asked: Micros = 0

    def subject(self) -> str:
        return f"kube.synced.-.{token(self.resource)}"


#: What would be gone at once is much where it is more entities than MANY, and more than one in SHARE.
MANY, SHARE = 10, 5


def is_much(missing: int, held: int) -> bool:
    """Whether so many of a resource's `held` entities are missing that one or two lists are not believed."""
    return missing > MANY and missing * SHARE > held


class ResourceSynced(Event, frozen=True, kw_only=True):
    """Everything up to `resource_version` is on the log: a watch may go on from there. `number`: of the
    listing that it was begun by. `count`: entities on the log. `doubted`: those of them that the API server
    does not show, and about which it is asked again before they are gone: a watcher that finds some lists
    anew. `fields` names the set of fields that the facts carry: a watcher that knows more of them lists
    again. `asked`: as in ResourceListing."""

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
