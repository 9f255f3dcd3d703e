"""Strategic merge patch: lists are merged by a key of their elements. Pure.

Which lists, and by which key, stands in the tags of Go's types (k8s.io/api, patchStrategy and
patchMergeKey); the rest of the lists are replaced whole. The directives are those of apimachinery,
pkg/util/strategicpatch: `$patch: delete|replace|merge`, `$retainKeys`, `$setElementOrder/<list>`,
`$deleteFromPrimitiveList/<list>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.lab.kubeapi.status import bad_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

#: Stands for the key of a list of plain values, which is a set.
_ITSELF = ""

_METADATA = {"metadata.ownerReferences": "uid", "metadata.finalizers": _ITSELF}

_CONTAINER = {"": "name", ".ports": "containerPort", ".env": "name"}
_CONTAINER |= {".volumeMounts": "mountPath", ".volumeDevices": "devicePath"}

#: By kind, the path of each list that is merged, and the key of its elements.
_KEYS: dict[str, dict[str, str]] = {
    "Pod": {
        f"spec.{containers}{inner}": key
        for containers in ("containers", "initContainers", "ephemeralContainers")
        for inner, key in _CONTAINER.items()
    }
    | {
        "spec.volumes": "name",
        "spec.imagePullSecrets": "name",
        "spec.hostAliases": "ip",
        "spec.topologySpreadConstraints": "topologyKey",
        "spec.schedulingGates": "name",
        "spec.resourceClaims": "name",
        "status.conditions": "type",
        "status.podIPs": "ip",
        "status.hostIPs": "ip",
        "status.resourceClaimStatuses": "name",
    },
    "Node": {"spec.podCIDRs": _ITSELF, "status.conditions": "type", "status.addresses": "type"},
    "Namespace": {"status.conditions": "type"},
}

_ORDER, _DELETED = "$setElementOrder/", "$deleteFromPrimitiveList/"


def strategic(resource: Resource, current: Json, patch: Json) -> Json:
    """`current` is left as it is. Raises Refused (400)."""
    return _object(current, patch, _METADATA | _KEYS.get(resource.kind, {}), "")


def _object(current: Json, patch: Json, keys: Mapping[str, str], path: str) -> Json:
    match patch.get("$patch", "merge"):
        case "replace":
            return {field: value for field, value in patch.items() if field != "$patch"}
        case "delete":
            return {}
        case "merge":
            pass
        case other:
            raise bad_request(f"unknown patch type found: {other}")
    merged = dict(current)
    if (kept := patch.get("$retainKeys")) is not None:
        if not isinstance(kept, list):
            raise bad_request("$retainKeys is no list")
        merged = {field: value for field, value in merged.items() if field in kept}
    for field, value in patch.items():
        if not field.startswith("$"):
            _member(merged, field, value, keys, f"{path}.{field}" if path else field)
    for field, value in patch.items():
        _directive(merged, field, value, keys, path)
    return merged


def _member(merged: Json, field: str, value: object, keys: Mapping[str, str], path: str) -> None:
    before = merged.get(field)
    if value is None:
        merged.pop(field, None)
    elif isinstance(value, dict):
        merged[field] = _object(before if isinstance(before, dict) else {}, value, keys, path)
    elif isinstance(value, list) and path in keys:
        merged[field] = _list(before if isinstance(before, list) else [], value, keys, path)
    else:
        merged[field] = value


def _directive(merged: Json, field: str, value: Any, keys: Mapping[str, str], path: str) -> None:
    """Those about lists, which come after the lists themselves."""
    name = field.removeprefix(_DELETED).removeprefix(_ORDER)
    if name == field:
        return
    there = merged.get(name) or []
    if not isinstance(value, list) or not isinstance(there, list):
        raise bad_request(f"{field}: a list was expected")
    if field.startswith(_DELETED):
        merged[name] = [one for one in there if one not in value]
    else:
        key = keys.get(f"{path}.{name}" if path else name)
        if key is not None and there:
            order = [_key(one, key) if isinstance(one, dict) else one for one in value]
            merged[name] = _ordered(there, there, order, key)


def _list(current: list[Any], patch: list[Any], keys: Mapping[str, str], path: str) -> list[Any]:
    key = keys[path]
    if key == _ITSELF:
        if not all(isinstance(one, str) for one in (*current, *patch)):
            raise bad_request(f"{path}: a list of strings was expected")
        return _ordered(list(dict.fromkeys([*current, *patch])), current, patch, key)
    if not all(isinstance(one, dict) for one in (*current, *patch)):
        raise bad_request(f"{path}: a list of objects was expected")
    sent = [one for one in patch if one.get("$patch") not in ("delete", "replace")]
    if any(one.get("$patch") == "replace" for one in patch):
        return sent
    gone = [_key(one, key) for one in patch if one.get("$patch") == "delete"]
    merged = {_key(one, key): one for one in current if _key(one, key) not in gone}
    for one in sent:
        merged[_key(one, key)] = _object(merged.get(_key(one, key), {}), one, keys, path)
    return _ordered(list(merged.values()), current, [_key(one, key) for one in sent], key)


def _ordered(items: list[Any], live: list[Any], order: list[Any], key: str) -> list[Any]:
    """Those of `order` in that order, the others in theirs; between the two the `live` order decides as far
    as it can (strategicpatch, mergeSortedSlice)."""
    places = {_key(one, key): place for place, one in enumerate(live)}
    by_key = {_key(one, key): one for one in items}
    named = [by_key[one] for one in order if one in by_key]
    others = [one for one in items if _key(one, key) not in order]
    found: list[Any] = []
    while named and others:
        first, other = places.get(_key(named[0], key)), places.get(_key(others[0], key))
        before = first is not None and other is not None and first < other
        found.append(named.pop(0) if before else others.pop(0))
    return found + named + others


def _key(one: Any, key: str) -> Any:
    if key == _ITSELF:
        return one
    if not isinstance(one, dict) or not isinstance(one.get(key), str | int | float | None) or key not in one:
        raise bad_request(f"map: {one} does not contain declared merge key: {key}")
    return one[key]
