"""Writes: create, update, patch, delete. Pure: clock and uid are given.

A write that changes nothing causes no event; the deletion of a namespace causes many.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.lab.kubeapi import status, wire
from romana_bus.lab.kubeapi.write import deletion, patches
from romana_bus.lab.kubeapi.write.admission import NO_RULES, Rules, admit_change, admit_deletion, admit_new
from romana_bus.lab.kubeapi.write.binding import bind
from romana_bus.lab.kubeapi.write.transaction import Transaction
from romana_bus.lab.kubeapi.write.validation import check_form

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.calls import Call
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.store import Store
    from romana_bus.lab.kubeapi.table import Change

#: Deleting one of these returns its last state; any other returns a Status (registry, ReturnDeletedObject).
_SHOWN_WHEN_DELETED = ("pods", "namespaces")

#: The characters of generated names (apimachinery, util/rand): without vowels, so that they spell no words.
_SAFE = "bcdfghjklmnpqrstvwxz2456789"

#: Metadata that only the server sets on a new object (registry/rest, FillObjectMetaSystemFields).
_OF_THE_SERVER = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")

#: Metadata that is read from every object, and so is checked even without admission.
_TEXTS = ("name", "generateName", "namespace", "uid", "resourceVersion")
_MAPS = ("labels", "annotations")
_PARTS = ("spec", "status")

Json = dict[str, Any]


class Written(NamedTuple):
    """The result of a write. `changes`: empty if nothing changed. `body`: the answer, without newline."""

    code: int
    body: bytes
    changes: list[tuple[Resource, Change]]


def write(
    store: Store,
    call: Call,
    body: bytes,
    *,
    now: str,
    uid: str,
    content_type: str = patches.MERGE,
    rules: Rules = NO_RULES,
) -> Written:
    """Carry out `call`. `now`: RFC 3339, in seconds. Raises Refused: 400, 403, 404, 409, 422."""
    dry = "dryRun" in call.query
    if call.verb == "delete":
        options = deletion.read_options(call.query, body, content_type)
        transaction = Transaction(store, now=now, uid=uid, dry=dry or options.dry)
        return Written(200, _delete(transaction, call, options, rules), transaction.changes)
    transaction = Transaction(store, now=now, uid=uid, dry=dry)
    if call.verb == "create":
        sent = patches.read_object(body, content_type)
        answer = (
            bind(transaction, call.key, sent) if call.subresource else _create(transaction, call, sent, rules)
        )
        return Written(201, answer, transaction.changes)
    code, answer = _change(transaction, call, body, content_type, rules)
    return Written(code, answer, transaction.changes)


def _create(transaction: Transaction, call: Call, sent: Json, rules: Rules) -> bytes:
    _check_kind(call.resource, sent)
    metadata = _metadata(sent)
    if rules.admission:
        check_form(call.resource, sent | {"metadata": metadata})
        metadata = _of_the_sender(metadata)
    name = metadata.get("name") or _generated(transaction, call, metadata.get("generateName", ""))
    key = call.resource.key(call.namespace, name)
    if transaction.store.get(call.resource, key) is not None:
        raise status.already_exists(call.resource, name)
    if call.namespace and metadata.setdefault("namespace", call.namespace) != call.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    metadata["name"] = name
    metadata.setdefault("uid", transaction.uid)
    metadata.setdefault("creationTimestamp", transaction.now)
    wanted = sent | {"metadata": metadata}
    if rules.admission:
        wanted = admit_new(transaction.store, call.resource, wanted)
    return transaction.put(call.resource, key, wanted)


def _of_the_sender(metadata: Json) -> Json:
    """The metadata of a new object, without the fields that only the server sets. Raises Refused (400)."""
    if metadata.get("resourceVersion"):
        raise status.bad_request("resourceVersion should not be set on objects to be created")
    return {field: value for field, value in metadata.items() if field not in _OF_THE_SERVER}


def _generated(transaction: Transaction, call: Call, start: str) -> str:
    """A free name that begins with `start`, derived from the uid. Raises Refused (422) if `start` is ''."""
    if not start:
        raise status.nameless(call.resource)
    tries = 0
    while True:
        digest = hashlib.sha256(f"{transaction.uid}/{tries}".encode()).digest()
        name = start + "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:5])
        if transaction.store.get(call.resource, call.resource.key(call.namespace, name)) is None:
            return name
        tries += 1


def _change(
    transaction: Transaction, call: Call, body: bytes, content_type: str, rules: Rules
) -> tuple[int, bytes]:
    """An update or a patch: the HTTP status and the answer."""
    old = transaction.store.get(call.resource, call.key)
    applied = call.verb == "patch" and content_type == patches.APPLY
    if old is None and applied and not call.subresource:
        sent = patches.read_object(body, content_type)
        named = _metadata(sent) | {"name": call.name}
        return 201, _create(transaction, call, sent | {"metadata": named}, rules)
    if old is None:
        raise status.not_found(call.resource, call.name)
    current = msgspec.json.decode(old)
    if call.verb == "patch":
        wanted = patches.patched(call.resource, current, body, content_type)
    else:
        wanted = patches.read_object(body, content_type)
    _check_kind(call.resource, wanted)
    return 200, _replace(transaction, call, old, current, wanted, rules)


def _replace(
    transaction: Transaction, call: Call, old: bytes, current: Json, wanted: Json, rules: Rules
) -> bytes:
    if _metadata(wanted).get("resourceVersion", "") not in ("", current["metadata"]["resourceVersion"]):
        raise status.conflict(call.resource, call.name)
    if call.subresource:
        part = {call.subresource: wanted[call.subresource]} if call.subresource in wanted else {}
        wanted = current | part
    metadata = _metadata(wanted)
    if rules.admission:
        check_form(call.resource, wanted | {"metadata": metadata})
    if metadata.get("name", call.name) != call.name:
        raise status.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({call.name})"
        )
    # Updates cannot change these fields.
    kept: tuple[str, ...] = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    kept += ("deletionTimestamp", "deletionGracePeriodSeconds") if rules.graceful else ()
    metadata |= {field: current["metadata"][field] for field in kept if field in current["metadata"]}
    wanted = wanted | {"metadata": metadata}
    if rules.admission and not call.subresource:
        wanted = admit_change(call.resource, current, wanted)
    top = {"kind": call.resource.kind, "apiVersion": call.resource.api_version}
    return old if wanted | top == current | top else transaction.put(call.resource, call.key, wanted)


def _delete(transaction: Transaction, call: Call, options: deletion.Options, rules: Rules) -> bytes:
    if rules.admission:
        admit_deletion(call.resource, call.name)
    last = deletion.delete(transaction, call.resource, call.key, options, graceful=rules.graceful)
    if call.resource.plural in _SHOWN_WHEN_DELETED:
        return last
    return status.success(call.resource, call.name, wire.identity(last).uid)


def _check_kind(resource: Resource, sent: Json) -> None:
    """Raises Refused (400) if the body's kind or apiVersion, where given, differs from the path's."""
    kind, version = sent.get("kind", resource.kind), sent.get("apiVersion", resource.api_version)
    if version != resource.api_version:
        raise status.bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    for part in _PARTS:
        if not isinstance(sent.get(part) or {}, dict):
            raise status.bad_request(f"{part} is not an object")
    if kind != resource.kind:
        raise status.bad_request(
            f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        )


def _metadata(wanted: Json) -> Json:
    metadata = wanted.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise status.bad_request("metadata is not an object")
    for fields, kind, name in ((_TEXTS, str, "a string"), (_MAPS, dict, "an object")):
        for field in fields:
            if not isinstance(metadata.get(field) or kind(), kind):
                raise status.bad_request(f"metadata.{field} is not {name}")
    return {field: value for field, value in metadata.items() if value is not None}
