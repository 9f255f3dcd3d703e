"""Strategic merge patch: lists are merged by a key of their elements. Pure.

The lists and their keys come from the tags of Go's types (k8s.io/api, patchStrategy and patchMergeKey); all
other lists are replaced as a whole. The directives are those of apimachinery,
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

#: The key of a list of plain values, which is merged as a set.
_ITSELF = ""

_METADATA = {"metadata.ownerReferences": "uid", "metadata.finalizers": _ITSELF}

_CONTAINER = {"": "name", ".ports": "containerPort", ".env": "name"}
_CONTAINER |= {".volumeMounts": "mountPath", ".volumeDevices": "devicePath"}

#: Kind -> path of a list that is merged -> the key of its elements.
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
    """The patched object; `current` is not modified. Raises Refused (400)."""
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
            raise bad_request("$retainKeys: a list was expected")
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
    """Apply a directive about a list, after the list itself was merged."""
    name = field.removeprefix(_DELETED).removeprefix(_ORDER)
    if name == field:
        return
    there = merged.get(name) or []
    if not isinstance(value, list) or not isinstance(there, list):
        raise bad_request(f"{field}: a list was expected")
    if field.startswith(_DELETED):
        merged[name] = [element for element in there if element not in value]
    else:
        key = keys.get(f"{path}.{name}" if path else name)
        if key is not None and there:
            order = [_key(element, key) if isinstance(element, dict) else element for element in value]
            merged[name] = _ordered(there, there, order, key)


def _list(current: list[Any], patch: list[Any], keys: Mapping[str, str], path: str) -> list[Any]:
    key = keys[path]
    if key == _ITSELF:
        if not all(isinstance(element, str) for element in (*current, *patch)):
            raise bad_request(f"{path}: a list of strings was expected")
        return _ordered(list(dict.fromkeys([*current, *patch])), current, patch, key)
    if not all(isinstance(element, dict) for element in (*current, *patch)):
        raise bad_request(f"{path}: a list of objects was expected")
    sent = [element for element in patch if element.get("$patch") not in ("delete", "replace")]
    if any(element.get("$patch") == "replace" for element in patch):
        return sent
    gone = [_key(element, key) for element in patch if element.get("$patch") == "delete"]
    merged = {_key(element, key): element for element in current if _key(element, key) not in gone}
    for element in sent:
        merged[_key(element, key)] = _object(merged.get(_key(element, key), {}), element, keys, path)
    return _ordered(list(merged.values()), current, [_key(element, key) for element in sent], key)


def _ordered(items: list[Any], live: list[Any], order: list[Any], key: str) -> list[Any]:
    """Sort the items: those in `order` keep that order, the others keep theirs; the two are interleaved by
    the `live` order as far as possible (strategicpatch, mergeSortedSlice)."""
    places = {_key(element, key): place for place, element in enumerate(live)}
    by_key = {_key(element, key): element for element in items}
    named = [by_key[element] for element in order if element in by_key]
    others = [element for element in items if _key(element, key) not in order]
    ordered: list[Any] = []
    while named and others:
        first, other = places.get(_key(named[0], key)), places.get(_key(others[0], key))
        before = first is not None and other is not None and first < other
        ordered.append(named.pop(0) if before else others.pop(0))
    return ordered + named + others


def _key(element: Any, key: str) -> Any:
    if key == _ITSELF:
        return element
    if (
        not isinstance(element, dict)
        or not isinstance(element.get(key), str | int | float | None)
        or key not in element
    ):
        raise bad_request(f"map: {element} does not contain declared merge key: {key}")
    return element[key]
