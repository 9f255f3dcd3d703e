"""Applies the four kinds of patches that Kubernetes supports. Pure.

JSON merge patch is RFC 7386, JSON patch RFC 6902; strategic merge patch is in strategic.py. Server-side apply
is create-or-merge here: lists are merged as in a strategic patch, without field owners. So there are no
managedFields and no conflicts, and fields that an applier no longer sends are not removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonpatch
import msgspec
import yaml

from romana_bus.lab.kubeapi import protobuf
from romana_bus.lab.kubeapi.status import bad_request, unprocessable
from romana_bus.lab.kubeapi.write.strategic import strategic

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
ACCEPTED = (JSON_PATCH, MERGE, STRATEGIC, APPLY)

#: Exceptions of jsonpatch if an operation's path, or the value there, has an unexpected type.
_MALFORMED = (TypeError, ValueError, LookupError, AttributeError)


class _Loader(yaml.SafeLoader):
    """Leaves timestamps as text, as in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_object(body: bytes, content_type: str = "") -> Json:
    """The object in a body: JSON or, by its content type, YAML or protobuf. Raises Refused (400)."""
    if content_type == protobuf.CONTENT_TYPE:
        return protobuf.read(body)
    read = _read(body, content_type)
    if not isinstance(read, dict):
        raise bad_request("the body of the request is not an object")
    return read


def _read(body: bytes, content_type: str) -> Any:
    try:
        if "yaml" in content_type:
            body = msgspec.json.encode(yaml.load(body, _Loader))  # a SafeLoader
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, TypeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise bad_request(f"the body of the request cannot be read: {why}") from None


def patched(resource: Resource, current: Json, body: bytes, content_type: str) -> Json:
    """The patched object; `current` is not modified. Raises Refused: 400, 422."""
    if content_type == JSON_PATCH:
        return json_patch(current, _read(body, content_type))
    sent = read_object(body, content_type)
    if content_type == MERGE:
        return merge(current, sent)  # type: ignore[no-any-return]
    return strategic(resource, current, sent)


def merge(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386): null removes a field, objects are merged, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for field, value in patch.items():
        if value is None:
            merged.pop(field, None)
        else:
            merged[field] = merge(merged.get(field), value)
    return merged


def json_patch(target: Json, operations: Any) -> Json:
    """JSON patch (RFC 6902). Raises Refused: 400 if it is not a patch, 422 if it cannot be applied."""
    if not isinstance(operations, list) or not all(isinstance(step, dict) for step in operations):
        raise bad_request("json: a JSON patch is a list of operations")
    try:
        patched = jsonpatch.apply_patch(target, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, *_MALFORMED):
        raise unprocessable() from None
    if not isinstance(patched, dict):
        raise unprocessable()
    return patched
