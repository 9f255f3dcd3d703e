"""Discovery: the API's version, groups and resources, and the verbs that they support. Pure.

Each group is described separately: clients that ask for aggregated discovery (apidiscovery.k8s.io) accept
that too. The OpenAPI documents contain no schemas: their query parameters tell kubectl that the server
supports dryRun and fieldValidation, so kubectl leaves both to the server. (Unknown fields are always
accepted here.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.lab.kubeapi.calls import CREATED_ONLY, READ_ONLY
from romana_bus.lab.kubeapi.resources import VERBS
from romana_bus.lab.kubeapi.status import go_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

#: The version of the real server whose answers are repeated here.
_VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}

_OPTIONS = ("dryRun", "fieldManager", "fieldValidation")


def document(path: str, resources: Iterable[Resource]) -> bytes | None:
    """The document at `path`, with its newline; None if discovery has none there."""
    body = _document(path, sorted(resources))
    return None if body is None else go_json(body) + b"\n"


def _document(path: str, served: list[Resource]) -> Json | None:
    match path.strip("/").split("/"):
        case ["version"]:
            return _VERSION
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            groups = sorted({resource.group for resource in served} - {""})
            listed = [_group(group, served) for group in groups]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        case ["api", version]:
            return _resources(version, served)
        case ["apis", group, version]:
            return _resources(f"{group}/{version}", served)
        case ["openapi", "v3"]:
            return {"paths": {root: {"serverRelativeURL": f"/openapi/v3/{root}"} for root in _roots(served)}}
        case ["openapi", "v3", *rest]:
            return _openapi("/".join(rest), served)
    return None


def _group(group: str, served: list[Resource]) -> Json:
    versions = sorted({resource.version for resource in served if resource.group == group})
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[-1]}


def _resources(api_version: str, served: list[Resource]) -> Json | None:
    matching = [resource for resource in served if resource.api_version == api_version]
    if not matching:
        return None
    listed = [entry for resource in matching for entry in _entries(resource)]
    kind = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if matching[0].group else {})
    return kind | {"groupVersion": api_version, "resources": listed}


def _entries(resource: Resource) -> list[Json]:
    """The APIResource entries of a resource and of its subresources."""
    common = {"namespaced": resource.namespaced}
    entry = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        **common,
        "kind": resource.kind,
        "verbs": VERBS,
    }
    if resource.short:
        entry["shortNames"] = list(resource.short)
    return [entry] + [
        {"name": f"{resource.plural}/{sub}", "singularName": "", **common}
        | {"kind": sub.capitalize() if sub in CREATED_ONLY else resource.kind}
        | {"verbs": _verbs(sub)}
        for sub in resource.subresources
    ]


def _verbs(subresource: str) -> list[str]:
    if subresource in CREATED_ONLY:
        return ["create"]
    return ["get"] if subresource in READ_ONLY else ["get", "patch", "update"]


def _roots(served: list[Resource]) -> list[str]:
    """The path of each group and version: `api/v1`, `apis/networking.k8s.io/v1` ..."""
    return sorted({_root(resource) for resource in served})


def _root(resource: Resource) -> str:
    return resource.path.rpartition("/")[0].strip("/")


def _openapi(root: str, served: list[Resource]) -> Json | None:
    """The OpenAPI document of one group and version; None if it is not served."""
    if root not in _roots(served):
        return None
    paths = {
        f"{resource.path}/{{name}}": {"patch": _patch(resource)}
        for resource in served
        if _root(resource) == root
    }
    info = {"title": "Kubernetes", "version": _VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths}


def _patch(resource: Resource) -> Json:
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _OPTIONS]
    gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return {
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": gvk,
    }
