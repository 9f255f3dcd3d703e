"""Kubernetes objects: only the fields that are used, decoded from bytes, and the facts made of them.

Field names are those of the Kubernetes API (v1.Pod, v1.Node, ...). The decoder skips all other fields. Fields
may be null or missing: an API server omits empty ones.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from romana_bus.events import (
    Event,
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
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

#: The prefix of the annotations that we read.
WISH = "romana.io/"
#: The kubelet's annotation on a mirror pod: the uid of the static pod.
MIRROR = "kubernetes.io/config.mirror"


class Shape(msgspec.Struct, rename="camel", gc=False, frozen=True):
    """A part of an object, with field names in camel case as in the Kubernetes API."""


class Meta(Shape, frozen=True):
    resource_version: str = ""
    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Address(Shape, frozen=True):
    type: str = ""
    address: str = ""


class _NodeStatus(Shape, frozen=True):
    addresses: list[_Address] | None = None


class Node(Shape, frozen=True):
    metadata: Meta
    status: _NodeStatus = _NodeStatus()


class _PodSpec(Shape, frozen=True):
    node_name: str = ""
    host_network: bool = False


class _PodIP(Shape, frozen=True):
    ip: str = ""


class _PodStatus(Shape, frozen=True):
    phase: str = ""
    pod_ips: list[_PodIP] | None = msgspec.field(name="podIPs", default=None)


class Pod(Shape, frozen=True):
    metadata: Meta
    spec: _PodSpec = _PodSpec()
    status: _PodStatus = _PodStatus()


class Namespace(Shape, frozen=True):
    metadata: Meta


class Policy(Shape, frozen=True):
    metadata: Meta
    spec: dict[str, Any] | None = None


class WatchEvent(msgspec.Struct, Generic[T], gc=False, frozen=True):
    """metav1.WatchEvent: `type` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""

    type: str
    object: T


class ListMeta(Shape, frozen=True):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, Generic[T], frozen=True):
    metadata: ListMeta
    items: list[T] | None = None


class Kind(NamedTuple):
    """One resource: its path, its decoders, and the facts made of its objects.

    `name`: the plural, or GROUP/VERSION/PLURAL for other resources. `item`, `events`, `pages`: decoders of an
    object, a line of a watch, a page of a list. `seen(item, listing)` and `gone(uid, version, listing,
    namespace, name)` make facts; `listing` is the number of the listing. `fields`: names the set of fields in
    the facts. `ordered`: a watch's events come in the order of their versions (KEP-5504); servers behind the
    API server's aggregation do not promise that."""

    name: str
    path: str
    group: str
    plural: str
    item: msgspec.json.Decoder[Any]
    events: msgspec.json.Decoder[Any]
    pages: msgspec.json.Decoder[Any]
    seen: Callable[[Any, int], Fact]
    gone: Callable[[str, str, int, str, str], Fact]
    fields: str
    ordered: bool = True


def _kind(
    name: str, shape: Any, seen: Callable[[Any, int], Fact], gone: Callable[[str, str, int, str, str], Fact],
    fields: str, *, group: str = "", version: str = "v1", plural: str = "", ordered: bool = True,
) -> Kind:  # fmt: skip
    plural = plural or name
    path = f"/apis/{group}/{version}/{plural}" if group else f"/api/{version}/{plural}"
    item = msgspec.json.Decoder(shape)
    events, pages = msgspec.json.Decoder(WatchEvent[shape]), msgspec.json.Decoder(Page[shape])
    return Kind(name, path, group, plural, item, events, pages, seen, gone, fields, ordered)


def _node(node: Node, listing: int) -> Fact:
    addresses = node.status.addresses or ()
    return NodeSeen(
        resource_version=node.metadata.resource_version,
        listing=listing,
        uid=node.metadata.uid,
        name=node.metadata.name,
        addresses=tuple(address.address for address in addresses if address.type == "InternalIP"),
        labels=node.metadata.labels or {},
    )


def _node_gone(uid: str, version: str, listing: int, _namespace: str, name: str) -> Fact:
    return NodeGone(resource_version=version, listing=listing, uid=uid, name=name)


def _pod(pod: Pod, listing: int) -> Fact:
    meta, ips = pod.metadata, pod.status.pod_ips
    return PodSeen(
        resource_version=meta.resource_version,
        listing=listing,
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        node=pod.spec.node_name,
        phase=pod.status.phase,
        host_network=pod.spec.host_network,
        ips=tuple([pod_ip.ip for pod_ip in ips]) if ips else (),
        labels=meta.labels or {},
        annotations=_own(meta.annotations) if meta.annotations else {},
        static=meta.annotations.get(MIRROR, "") if meta.annotations else "",
    )


def _own(annotations: dict[str, str]) -> dict[str, str]:
    """Only our annotations: others (leases, checksums ...) change all the time."""
    return {key: value for key, value in annotations.items() if key.startswith(WISH)}


def _pod_gone(uid: str, version: str, listing: int, namespace: str, name: str) -> Fact:
    return PodGone(resource_version=version, listing=listing, uid=uid, namespace=namespace, name=name)


def _namespace(namespace: Namespace, listing: int) -> Fact:
    meta = namespace.metadata
    return NamespaceSeen(
        resource_version=meta.resource_version,
        listing=listing,
        uid=meta.uid,
        name=meta.name,
        labels=meta.labels or {},
    )


def _namespace_gone(uid: str, version: str, listing: int, _namespace: str, name: str) -> Fact:
    return NamespaceGone(resource_version=version, listing=listing, uid=uid, name=name)


def _policy(policy: Policy, listing: int) -> Fact:
    meta = policy.metadata
    return PolicySeen(
        resource_version=meta.resource_version,
        listing=listing,
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        spec=policy.spec or {},
    )


def _policy_gone(uid: str, version: str, listing: int, namespace: str, name: str) -> Fact:
    return PolicyGone(resource_version=version, listing=listing, uid=uid, namespace=namespace, name=name)


def _fields(seen: type[Event], *more: str) -> str:
    """A digest of the field names. It changes when a fact gets another field: then everything is listed and
    published again."""
    names = ",".join([*seen.__struct_fields__, *more])
    return hashlib.blake2b(names.encode(), digest_size=4).hexdigest()


NODES = _kind("nodes", Node, _node, _node_gone, _fields(NodeSeen))
PODS = _kind("pods", Pod, _pod, _pod_gone, _fields(PodSeen))
NAMESPACES = _kind("namespaces", Namespace, _namespace, _namespace_gone, _fields(NamespaceSeen))
POLICIES = _kind(
    "networkpolicies", Policy, _policy, _policy_gone, _fields(PolicySeen), group="networking.k8s.io"
)

#: Resources that are always watched.
BUILT_IN = (NODES, PODS, NAMESPACES, POLICIES)

#: The name of the kind of each fact.
KIND_OF: dict[type[Event], str] = {
    NodeSeen: "nodes",
    NodeGone: "nodes",
    PodSeen: "pods",
    PodGone: "pods",
    NamespaceSeen: "namespaces",
    NamespaceGone: "namespaces",
    PolicySeen: "networkpolicies",
    PolicyGone: "networkpolicies",
}


def other_kind(group: str, version: str, plural: str, paths: Iterable[str] = ()) -> Kind:
    """The kind of any other resource, for third parties. Facts contain whole objects (without
    `metadata.managedFields`), or only the fields at `paths` (such as `spec.replicas`)."""
    name = f"{group or 'core'}/{version}/{plural}"
    chosen = [path.split(".") for path in paths]

    def seen(raw: dict[str, Any], listing: int) -> Fact:
        if not isinstance(raw.get("metadata"), dict):
            raise ValueError("an object without metadata")
        raw["metadata"].pop("managedFields", None)
        meta = msgspec.convert(raw["metadata"], Meta)
        return ObjectSeen(
            resource=name,
            resource_version=meta.resource_version,
            listing=listing,
            uid=meta.uid,
            namespace=meta.namespace,
            name=meta.name,
            object=_cut_out(raw, chosen) if chosen else raw,
        )

    def gone(uid: str, version: str, listing: int, namespace: str, called: str) -> Fact:
        return ObjectGone(
            resource=name,
            resource_version=version,
            listing=listing,
            uid=uid,
            namespace=namespace,
            name=called,
        )

    fields = _fields(ObjectSeen, *(".".join(keys) for keys in chosen))
    return _kind(
        name, dict[str, Any], seen, gone, fields, group=group, version=version, plural=plural, ordered=False
    )


def _cut_out(raw: dict[str, Any], chosen: list[list[str]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for keys in chosen:
        value: Any = raw
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            continue
        into = result
        for key in keys[:-1]:
            into = into.setdefault(key, {})
        into[keys[-1]] = value
    return result
