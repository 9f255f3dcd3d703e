"""The encoding of objects in lists and watches, of bookmarks, and of metadata-only objects. Pure.

Tests compare it with recordings of a real server. Comments note peculiarities of Go's encoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.lab.kubeapi.resources import Resource

_PARTIAL = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",'

#: Fields that Go writes even if they are empty, by kind.
_EMPTY = {
    "Namespace": b',"spec":{},"status":{}',
    "NetworkPolicy": b',"spec":{"podSelector":{}}',
    "Node": b',"spec":{},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{'
    b'"machineID":"","systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"",'
    b'"kubeletVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""}}',
    "Pod": b',"spec":{"containers":null},"status":{}',
}


def head(resource: Resource) -> bytes:
    """The kind and apiVersion prefix of an object outside a list."""
    return b'{"kind":"%s","apiVersion":"%s",' % (resource.kind.encode(), resource.api_version.encode())


def standing_alone(resource: Resource, item: bytes) -> bytes:
    """An item of a list in the form that a watch shows: with kind and apiVersion."""
    return head(resource) + item[1:]


def list_item(resource: Resource, raw: bytes) -> bytes:
    return b"{" + raw[len(head(resource)) :]


class _HasMetadata(msgspec.Struct):
    metadata: msgspec.Raw


class _Identity(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = "0"


class _Identified(msgspec.Struct):
    metadata: _Identity


def identity(raw: bytes) -> _Identity:
    """The name and version of an object. Raises msgspec.ValidationError if it has no name."""
    return msgspec.json.decode(raw, type=_Identified).metadata


def placed(resource: Resource, raw: bytes) -> tuple[str, int]:
    """(key, version) of an object from outside. Raises ValueError if it is of another kind."""
    if not raw.startswith(head(resource)):
        raise ValueError(f"not a {resource.kind} as a watch shows it: {raw[:80]!r}")
    metadata = identity(raw)
    return resource.key(metadata.namespace, metadata.name), int(metadata.resource_version)


def metadata_only(raw: bytes) -> bytes:
    """meta.k8s.io/v1 PartialObjectMetadata of an object."""
    return _PARTIAL + b'"metadata":%s}' % bytes(msgspec.json.decode(raw, type=_HasMetadata).metadata)


def bookmark(resource: Resource, version: int, *, initial_end: bool = False, partial: bool = False) -> bytes:
    """The line of a bookmark. `initial_end`: it ends the initial events of a streaming list. `partial`: as
    PartialObjectMetadata."""
    metadata = b'"metadata":' + bookmark_metadata(version, initial_end=initial_end)
    rest = b"" if partial else _EMPTY.get(resource.kind, b"")
    return b'{"type":"BOOKMARK","object":%s}\n' % (
        (_PARTIAL if partial else head(resource)) + metadata + rest + b"}"
    )


def bookmark_metadata(version: int, *, initial_end: bool) -> bytes:
    marked = b',"annotations":{"k8s.io/initial-events-end":"true"}' if initial_end else b""
    return b'{"resourceVersion":"%d"%s}' % (version, marked)


def list_of(kind: str, api_version: str, items: Iterable[bytes], metadata: bytes) -> bytes:
    return b'{"kind":"%s","apiVersion":"%s","metadata":%s,"items":[%s]}' % (
        kind.encode(),
        api_version.encode(),
        metadata,
        b",".join(items),
    )


def at_version(raw: bytes, version: int) -> bytes:
    """The object with another resourceVersion; all other bytes are unchanged."""
    before = identity(raw).resource_version.encode()
    # Inside a string the quotes would be escaped.
    return raw.replace(b'"resourceVersion":"%s"' % before, b'"resourceVersion":"%d"' % version, 1)
