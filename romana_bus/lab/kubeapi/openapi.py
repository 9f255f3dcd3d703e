"""OpenAPI documents that say what may be asked of the server, and hold no schemas. Pure.

From the lack of schemas in v2 kubectl before 1.25 concludes that it has nothing to check against, and from
the query parameters of v3 a newer one that the server checks fields itself. Both look here for dryRun.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.lab.kubeapi.protobuf import field
from romana_bus.lab.kubeapi.status import go_json

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

#: Of the server whose words are used here.
VERSION = "v1.36.0"

_INFO = {"title": "Kubernetes", "version": VERSION}
_OPTIONS = ("dryRun", "fieldManager", "fieldValidation")
_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_GVK = "x-kubernetes-group-version-kind"


class Document(NamedTuple):
    body: bytes
    content_type: str = "application/json"


def v2(accept: str, served: list[Resource]) -> Document:
    if _PROTOBUF in accept:
        return Document(_in_protobuf(served), _PROTOBUF.replace("@", "."))
    paths = {_template(one): {"patch": _patch(one)} for one in served}
    return _json({"swagger": "2.0", "info": _INFO, "paths": paths})


def v3(where: str, served: list[Resource]) -> Document | None:
    """The index, or the document of one group and version: `apis/networking.k8s.io/v1`."""
    places = sorted({_place(one) for one in served})
    if not where:
        index = {place: {"serverRelativeURL": _hashed(f"/openapi/v3/{place}")} for place in places}
        return _json({"paths": index})
    if where not in places:
        return None
    paths = {_template(one): {"patch": _patch(one)} for one in served if _place(one) == where}
    return _json({"openapi": "3.0.0", "info": _INFO, "paths": paths})


def _json(value: Json) -> Document:
    return Document(go_json(value) + b"\n")


def _place(one: Resource) -> str:
    return one.path.rpartition("/")[0].strip("/")


def _hashed(url: str) -> str:
    """Clients keep a document as long as its hash is the same."""
    return f"{url}?hash={hashlib.sha256((url + VERSION).encode()).hexdigest()[:16].upper()}"


def _template(one: Resource) -> str:
    root, _, plural = one.path.rpartition("/")
    return f"{root}/namespaces/{{namespace}}/{plural}/{{name}}" if one.namespaced else f"{one.path}/{{name}}"


def _patch(one: Resource) -> Json:
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _OPTIONS]
    return {
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        _GVK: {"group": one.group, "version": one.version, "kind": one.kind},
    }


def _in_protobuf(served: list[Resource]) -> bytes:
    """An openapi.v2.Document (google/gnostic, openapiv2/OpenAPIv2.proto): swagger and paths."""
    paths = b"".join(
        field(2, field(1, _template(one).encode()) + field(2, field(8, _patch_in_protobuf(one))))
        for one in served
    )
    return field(1, b"2.0") + field(8, paths)


def _patch_in_protobuf(one: Resource) -> bytes:
    """An Operation: its query parameters, and the extension that names what it patches."""
    named = [field(2, b"query") + field(4, name.encode()) for name in _OPTIONS]
    parameters = b"".join(field(8, field(1, field(2, field(3, parameter)))) for parameter in named)
    gvk = f'group: "{one.group}"\nkind: {one.kind}\nversion: {one.version}\n'
    extension = field(1, _GVK.encode()) + field(2, field(2, gvk.encode()))
    return parameters + field(13, extension)
