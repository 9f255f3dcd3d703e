"""What a client is told of the API itself: its version, groups and resources. Pure.

Discovery is given one by one, as ever, and aggregated (apidiscovery.k8s.io), as newer clients ask for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.lab.kubeapi import openapi
from romana_bus.lab.kubeapi.calls import CREATED_ONLY
from romana_bus.lab.kubeapi.openapi import VERSION, Document
from romana_bus.lab.kubeapi.status import go_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

#: Of the server whose words these are.
_VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": VERSION,
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"


def document(path: str, accept: str, resources: Iterable[Resource]) -> Document | None:
    """What stands at `path`; None where it is no place of discovery."""
    served = sorted(resources)
    groups = sorted({one.group for one in served} - {""})
    match path.strip("/").split("/"):
        case ["version"]:
            return _json(_VERSION)
        case ["api" | "apis" as root] if form := _aggregated_form(accept):
            return _aggregated(form, [""] if root == "api" else groups, served)
        case ["api"]:
            return _json({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        case ["apis"]:
            listed = [_group(group, served) for group in groups]
            return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
        case ["apis", group] if group in groups:
            return _json({"kind": "APIGroup", "apiVersion": "v1"} | _group(group, served))
        case ["api", version] | ["apis", _, version] as parts:
            return _resources(parts[1] if len(parts) == 3 else "", version, served)
        case ["openapi", "v2"]:
            return openapi.v2(accept, served)
        case ["openapi", "v3", *rest]:
            return openapi.v3("/".join(rest), served)
    return None


def _json(value: Json) -> Document:
    return Document(go_json(value) + b"\n")


def _group(group: str, served: list[Resource]) -> Json:
    versions = sorted({one.version for one in served if one.group == group})
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[-1]}


def _resources(group: str, version: str, served: list[Resource]) -> Document | None:
    found = [one for one in served if (one.group, one.version) == (group, version)]
    if not found:
        return None
    listed = [entry for one in found for entry in _entries(one)]
    kind = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if group else {})
    return _json(kind | {"groupVersion": found[0].api_version, "resources": listed})


def _entries(one: Resource) -> list[Json]:
    """A resource and its subresources."""
    common = {"namespaced": one.namespaced}
    entry = {
        "name": one.plural,
        "singularName": one.kind.lower(),
        **common,
        "kind": one.kind,
        "verbs": one.verbs,
    }
    if one.short:
        entry["shortNames"] = list(one.short)
    if categories := _categories(one):
        entry["categories"] = categories
    return [entry] + [
        {"name": f"{one.plural}/{sub}", "singularName": "", **common}
        | {"kind": _kind(one, sub), "verbs": _verbs(sub)}
        for sub in one.subresources
    ]


def _categories(one: Resource) -> list[str]:
    return ["all"] if one.kind == "Pod" else []


def _kind(one: Resource, sub: str) -> str:
    return sub.capitalize() if sub in CREATED_ONLY else one.kind


def _verbs(sub: str) -> list[str]:
    return ["create"] if sub in CREATED_ONLY else ["get", "patch", "update"]


# --- aggregated ---------------------------------------------------------------------------------------


def _aggregated_form(accept: str) -> str:
    """v2 or v2beta1, whichever the client names first and before plain JSON; '' where it names neither."""
    for media_type in accept.replace(" ", "").split(","):
        parts = media_type.split(";")
        if "as=APIGroupDiscoveryList" in parts:
            return next((part[2:] for part in parts if part in ("v=v2", "v=v2beta1")), "")
        if parts[0] in ("application/json", "*/*"):
            return ""
    return ""


def _aggregated(form: str, groups: list[str], served: list[Resource]) -> Document:
    items = [_aggregated_group(group, [one for one in served if one.group == group]) for group in groups]
    top = {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{form}", "metadata": {}}
    return Document(go_json(top | {"items": items}) + b"\n", _AGGREGATED.format(form))


def _aggregated_group(group: str, served: list[Resource]) -> Json:
    versions = [
        {
            "version": version,
            "resources": [_aggregated_resource(one) for one in served if one.version == version],
            "freshness": "Current",
        }
        for version in sorted({one.version for one in served})
    ]
    name = {"name": group} if group else {}
    return {"metadata": name | {"creationTimestamp": None}, "versions": versions}


def _aggregated_resource(one: Resource) -> Json:
    entry: Json = {
        "resource": one.plural,
        "responseKind": _gvk(one, one.kind),
        "scope": "Namespaced" if one.namespaced else "Cluster",
        "singularResource": one.kind.lower(),
        "verbs": one.verbs,
    }
    if one.short:
        entry["shortNames"] = list(one.short)
    if categories := _categories(one):
        entry["categories"] = categories
    if one.subresources:
        entry["subresources"] = [
            {"subresource": sub, "responseKind": _gvk(one, _kind(one, sub)), "verbs": _verbs(sub)}
            for sub in one.subresources
        ]
    return entry


def _gvk(one: Resource, kind: str) -> Json:
    return {"group": one.group, "version": one.version, "kind": kind}
