"""The bytes that Kubernetes puts around objects: lists' items, bookmarks, metadata only. Pure.

Tests compare them with recordings of a real server. Comments say where Go's encoder is special.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.lab.kubeapi.resources import Resource

_PARTIAL = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",'

#: What an otherwise empty object of these kinds still shows: fields that Go does not leave out.
_EMPTY = {
    "Namespace": b',"spec":{},"status":{}',
    "NetworkPolicy": b',"spec":{"podSelector":{}}',
    "Node": b',"spec":{},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{'
    b'"machineID":"","systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"",'
    b'"kubeletVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""}}',
    "Pod": b',"spec":{"containers":null},"status":{}',
}


def head(resource: Resource) -> bytes:
    """How every object starts where it stands alone; in a list the items go without."""
    return b'{"kind":"%s","apiVersion":"%s",' % (resource.kind.encode(), resource.api_version.encode())


def standing_alone(resource: Resource, item: bytes) -> bytes:
    """An item of a list, as a watch shows it."""
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
    """What names an object and its version. Raises msgspec.ValidationError where it has no name."""
    return msgspec.json.decode(raw, type=_Identified).metadata


def placed(resource: Resource, raw: bytes) -> tuple[str, int]:
    """(key, version) of an object that comes from elsewhere. Raises ValueError if it is of another kind."""
    if not raw.startswith(head(resource)):
        raise ValueError(f"not a {resource.kind} as a watch shows it: {raw[:80]!r}")
    metadata = identity(raw)
    return resource.key(metadata.namespace, metadata.name), int(metadata.resource_version)


def metadata_only(raw: bytes) -> bytes:
    """meta.k8s.io/v1 PartialObjectMetadata of an object."""
    return _PARTIAL + b'"metadata":%s}' % bytes(msgspec.json.decode(raw, type=_HasMetadata).metadata)


def bookmark(resource: Resource, version: int, *, initial_end: bool = False, partial: bool = False) -> bytes:
    """The line of a bookmark; `initial_end`: the one that ends the initial events of a streaming list."""
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
    """The object with another resourceVersion, and all the rest byte for byte."""
    before = identity(raw).resource_version.encode()
    # inside strings the quotes would be escaped
    return raw.replace(b'"resourceVersion":"%s"' % before, b'"resourceVersion":"%d"' % version, 1)
