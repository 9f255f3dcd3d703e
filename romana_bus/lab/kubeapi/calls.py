"""Parses an HTTP request as Kubernetes does: verb, resource, object, options. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.lab.kubeapi.status import bad_request, invalid_options, method_not_allowed, no_such_resource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from romana_bus.lab.kubeapi.resources import Resource

_ON_COLLECTION = {"GET": "list", "POST": "create"}
_ON_OBJECT = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

#: Subresources that can only be created, and those that can only be read.
CREATED_ONLY, READ_ONLY = ("binding",), ("log",)


#: Numeric options are signed 64-bit integers.
_LARGEST = 2**63 - 1


class Call(NamedTuple):
    """A request. `verb`: as in RBAC. `namespace`, `name`: '' if the path has none. `view`: object, metadata
    or table. `query`: the options as they were sent."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    view: str = "object"
    query: Mapping[str, str] = {}

    @property
    def key(self) -> str:
        return self.resource.key(self.namespace, self.name)

    @property
    def prefix(self) -> str:
        """The prefix of the keys that a list or watch selects."""
        return f"{self.namespace}/" if self.namespace else ""

    def flag(self, option: str) -> bool:
        """Whether a boolean option is set. `?watch` without a value is true too (runtime,
        Convert_Slice_string_To_bool)."""
        return self.query.get(option, "0").lower() not in ("0", "false")

    def number(self, option: str) -> int:
        """A numeric option, or 0 if it is absent. Raises Refused (400) unless it is 0 to 2**63 - 1."""
        text = self.query.get(option) or "0"
        if not (text.isascii() and text.isdigit()):
            raise bad_request(f'invalid {option} "{text}": it must be a natural number')
        if len(text) > len(str(_LARGEST)) or int(text) > _LARGEST:
            raise bad_request(f'invalid {option} "{text}": value out of range')
        return int(text)


def read_call(
    method: str, path: str, query: Mapping[str, str], accept: str, resources: Iterable[Resource]
) -> Call:
    """The parsed request. Raises Refused: 404 for an unknown resource, 405 for a method that the resource
    does not allow."""
    resource, namespace, name, subresource = _target(path, resources)
    if subresource and subresource not in resource.subresources:
        raise no_such_resource()
    verb = _verb(method, name, subresource)
    call = Call(verb, resource, namespace, name, subresource, _view(accept), query)
    everywhere = resource.namespaced and not namespace
    if not verb or (everywhere and verb == "create"):
        raise method_not_allowed()
    return call._replace(verb="watch") if verb == "list" and call.flag("watch") else call


def _verb(method: str, name: str, subresource: str) -> str:
    """The RBAC verb of a request; '' if there is none."""
    if subresource in CREATED_ONLY:
        return "create" if method == "POST" else ""
    if subresource in READ_ONLY:
        return "get" if method == "GET" else ""
    return (_ON_OBJECT if name else _ON_COLLECTION).get(method, "")


def _view(accept: str) -> str:
    """The view that the first media type of Accept asks for; the server does not look at the others."""
    first = accept.split(",")[0]
    if "as=PartialObjectMetadata" in first:
        return "metadata"
    return "table" if "as=Table" in first else "object"


def _target(path: str, resources: Iterable[Resource]) -> tuple[Resource, str, str, str]:
    """(resource, namespace, name, subresource); '' for parts that the path does not have. Raises Refused."""
    match path.strip("/").split("/"):
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise no_such_resource()
    served = {r.plural: r for r in resources if (r.group, r.version) == (group, version)}
    match rest:
        case ["namespaces", namespace, plural, *rest] if plural in served and served[plural].namespaced:
            resource = served[plural]
        case [plural, *rest] if plural in served:
            resource, namespace = served[plural], ""
        case _:
            raise no_such_resource()
    name, subresource = (*rest, "", "")[:2]
    if len(rest) > 2 or (name and resource.namespaced and not namespace):
        raise no_such_resource()
    return resource, namespace, name, subresource


def check_options(call: Call, *, streaming_list: bool) -> None:
    """Raises Refused for option values and combinations that the API server does not allow (apimachinery,
    internalversion/validation)."""
    for option in ("resourceVersion", "limit", "timeoutSeconds"):
        call.number(option)
    if call.verb == "watch" and (causes := _watch_causes(call.query, streaming_list)):
        raise invalid_options(causes)


def _watch_causes(query: Mapping[str, str], streaming_list: bool) -> list[tuple[str, str]]:
    causes = []
    match = query.get("resourceVersionMatch")
    asked = "sendInitialEvents" in query
    if asked and match != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        causes.append(("resourceVersionMatch", why))
    if asked and not streaming_list:
        why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
        causes.append(("sendInitialEvents", why))
    if match and not asked:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        causes.append(("resourceVersionMatch", why))
    return causes
