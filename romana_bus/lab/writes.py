"""What a write makes of an object: create, update, patch, delete. Pure: clock and uid are given.

Objects are kept as they were sent; there is no defaulting and no validation. Only `metadata` is put in
the order in which Kubernetes writes it, and completed. A write that changes nothing makes no event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.lab import status, wire
from romana_bus.lab.status import go_json

if TYPE_CHECKING:
    from romana_bus.lab.calls import Call
    from romana_bus.lab.store import Change, Store

_METADATA = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)

#: Deleting one of these answers with its last state, any other with a Status (registry, ReturnDeletedObject).
_SHOWN_WHEN_DELETED = ("pods", "namespaces")

Json = dict[str, Any]


class Written(NamedTuple):
    """`change` is None where the write changed nothing. `body`: the answer, without newline."""

    code: int
    body: bytes
    change: Change | None


def write(store: Store, call: Call, body: bytes, *, now: str, uid: str) -> Written:
    """Do what `call` says. `now`: RFC 3339, in seconds. Raises Refused: 400, 404, 409, 422."""
    if call.verb == "create":
        return _create(store, call, _read(body), now, uid)
    old = store.get(call.resource, call.key)
    if old is None:
        raise status.not_found(call.resource, call.name)
    if call.verb == "delete":
        return _delete(store, call, old)
    sent = _read(body)
    current = msgspec.json.decode(old)
    if _metadata(sent).get("resourceVersion", "") not in ("", current["metadata"]["resourceVersion"]):
        raise status.conflict(call.resource, call.name)
    return _update(store, call, old, current, sent)


def _create(store: Store, call: Call, sent: Json, now: str, uid: str) -> Written:
    metadata = _metadata(sent)
    name = metadata.get("name", "")
    if not name:
        raise status.nameless(call.resource)
    key = call.resource.key(call.namespace, name)
    if store.get(call.resource, key) is not None:
        raise status.already_exists(call.resource, name)
    if call.namespace and metadata.setdefault("namespace", call.namespace) != call.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    metadata.setdefault("uid", uid)
    metadata.setdefault("creationTimestamp", now)
    return Written(201, *_put(store, call, "ADDED", key, sent | {"metadata": metadata}))


def _update(store: Store, call: Call, old: bytes, current: Json, sent: Json) -> Written:
    wanted = merge(current, sent) if call.verb == "patch" else sent
    if call.subresource:
        part = {call.subresource: wanted[call.subresource]} if call.subresource in wanted else {}
        wanted = current | part
    metadata = _metadata(wanted)
    if metadata.get("name", call.name) != call.name:
        raise status.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({call.name})"
        )
    # whoever wrote it first decides what these are
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata |= {field: current["metadata"][field] for field in kept if field in current["metadata"]}
    wanted = wanted | {"metadata": metadata}
    top = {"kind": call.resource.kind, "apiVersion": call.resource.api_version}
    if wanted | top == current | top:
        return Written(200, old, None)
    return Written(200, *_put(store, call, "MODIFIED", call.key, wanted))


def _put(store: Store, call: Call, kind: str, key: str, wanted: Json) -> tuple[bytes, Change]:
    version = store.version + 1
    found = wanted["metadata"] | {"resourceVersion": str(version)}
    metadata = {field: found.pop(field) for field in _METADATA if field in found} | found
    top = {"kind": call.resource.kind, "apiVersion": call.resource.api_version, "metadata": metadata}
    raw = go_json(top | {field: part for field, part in wanted.items() if field not in top})
    return raw, store.write(call.resource, kind, key, raw, version)


def _delete(store: Store, call: Call, old: bytes) -> Written:
    version = store.version + 1
    last = wire.identity(old)
    # in place, so that the rest stays byte for byte; inside strings the quotes would be escaped
    raw = old.replace(
        b'"resourceVersion":"%s"' % last.resource_version.encode(),
        b'"resourceVersion":"%d"' % version,
        1,
    )
    change = store.write(call.resource, "DELETED", call.key, raw, version)
    if call.resource.plural in _SHOWN_WHEN_DELETED:
        return Written(200, raw, change)
    return Written(200, status.success(call.resource, call.name, last.uid), change)


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


def _read(body: bytes) -> Json:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise status.bad_request(f"the body of the request is not an object: {error}") from None


def _metadata(wanted: Json) -> Json:
    found = wanted.get("metadata") or {}
    if not isinstance(found, dict):
        raise status.bad_request("metadata is not an object")
    return dict(found)
