"""What a patch makes of an object, in each of the four ways that Kubernetes knows. Pure.

JSON merge patch is RFC 7386, JSON patch RFC 6902; strategic merge patch is in strategic.py. Server-side apply
is create-or-merge here: lists are merged as in a strategic patch, and whoever applies owns everything. Not
done: managedFields, conflicts between appliers, and the removal of what an applier no longer names.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

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


class _Loader(yaml.SafeLoader):
    """Times stay the text that they are, as in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_object(body: bytes, content_type: str = "") -> Json:
    """JSON, or YAML or protobuf where the type says so. Raises Refused (400)."""
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
    """`current` is left as it is. Raises Refused: 400, 422."""
    if content_type == JSON_PATCH:
        return json_patch(current, _read(body, content_type))
    sent = read_object(body, content_type)
    if content_type == MERGE:
        return merge(current, sent)  # type: ignore[no-any-return]
    return strategic(resource, current, sent)


def merge(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386): null removes, objects merge, anything else replaces."""
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
    """RFC 6902. Raises Refused: 400 for what is no patch, 422 for what cannot be done."""
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise bad_request("json: a JSON patch is a list of operations")
    document = {"": deepcopy(target)}  # so that the whole is a member too
    try:
        for one in operations:
            _operate(document, one)
    except (LookupError, TypeError, ValueError):
        raise unprocessable() from None
    if not isinstance(document[""], dict):
        raise unprocessable()
    return document[""]


def _operate(document: Json, one: Json) -> None:
    path = _pointer(one["path"])
    match one.get("op"):
        case "add":
            _add(document, path, one["value"])
        case "remove":
            _remove(document, path)
        case "replace":
            _remove(document, path)
            _add(document, path, one["value"])
        case "move":
            _add(document, path, _remove(document, _pointer(one["from"])))
        case "copy":
            _add(document, path, deepcopy(_at(document, _pointer(one["from"]))))
        case "test" if _at(document, path) == one.get("value"):
            pass
        case other:
            raise ValueError(other)


def _pointer(text: object) -> list[str]:
    """RFC 6901. Raises ValueError."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise ValueError(text)
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")]


def _at(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[_index(part) if isinstance(document, list) else part]
    return document


def _add(document: Json, path: list[str], value: object) -> None:
    parent = _at(document, path[:-1])
    if isinstance(parent, list):
        place = len(parent) if path[-1] == "-" else _index(path[-1])
        if place > len(parent):
            raise IndexError(place)
        parent.insert(place, value)
    else:
        parent[path[-1]] = value


def _remove(document: Json, path: list[str]) -> Any:
    parent = _at(document, path[:-1])
    return parent.pop(_index(path[-1]) if isinstance(parent, list) else path[-1])


def _index(part: str) -> int:
    if not (part.isascii() and part.isdigit()):
        raise ValueError(part)
    return int(part)
