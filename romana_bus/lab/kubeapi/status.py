"""Answers of kind metav1.Status, mostly refusals, with a real API server's texts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.store import Compacted


def go_json(value: object) -> bytes:
    """JSON as Go's encoder writes it: compact, with the characters escaped that are special in HTML."""
    body = msgspec.json.encode(value)
    return body.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")


class Refused(Exception):
    """The request is refused with a Status. `code`: the HTTP status. `body`: the object, without newline."""

    def __init__(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        super().__init__(body.decode())
        self.code = code
        self.body = body
        self.headers = headers or {}


def refusal(
    code: int,
    reason: str,
    message: str,
    details: dict[str, Any] | None = None,
    metadata: dict[str, str] | None = None,
) -> Refused:
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": metadata or {}}
    status |= {"status": "Failure", "message": message, "reason": reason}
    if details is not None:
        status["details"] = details
    return Refused(code, go_json(status | {"code": code}))


def success(resource: Resource, name: str, uid: str) -> bytes:
    """Success Status of a deletion, for kinds whose last state is not returned."""
    details = {"name": name} | ({"group": resource.group} if resource.group else {})
    details |= {"kind": resource.plural, "uid": uid}
    return go_json(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    )


def done(code: int) -> bytes:
    """Success Status of a create that returns no object (a binding)."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}
    return go_json(body)


def bad_request(message: str) -> Refused:
    return refusal(400, "BadRequest", message)


def not_admitted(resource: Resource, name: str, why: str) -> Refused:
    """403 of an admission rule: the user is authorized, but this object may not be changed like this."""
    message = f'{_qualified(resource)} "{name}" is forbidden: {why}'
    return refusal(403, "Forbidden", message, _details(resource, name))


def no_such_resource() -> Refused:
    return refusal(404, "NotFound", "the server could not find the requested resource", {})


def not_found(resource: Resource, name: str) -> Refused:
    return refusal(404, "NotFound", f'{_qualified(resource)} "{name}" not found', _details(resource, name))


def method_not_allowed() -> Refused:
    message = "the server does not allow this method on the requested resource"
    return refusal(405, "MethodNotAllowed", message, {})


def already_exists(resource: Resource, name: str) -> Refused:
    message = f'{_qualified(resource)} "{name}" already exists'
    return refusal(409, "AlreadyExists", message, _details(resource, name))


_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: Resource, name: str, why: str = _MODIFIED) -> Refused:
    message = f'Operation cannot be fulfilled on {_qualified(resource)} "{name}": {why}'
    return refusal(409, "Conflict", message, _details(resource, name))


def expired_list() -> Refused:
    return refusal(410, "Expired", "The resourceVersion for the provided list is too old.")


def expired_page(token: str) -> Refused:
    """410 for a continue token that is too old. `token`: continues the list at the current version."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a "
        "new list without the continue parameter, or use the continue token in this response to retrieve "
        "the remainder of the results. Continuing with the provided token results in an inconsistent list "
        "- objects that were created, modified, or deleted between the time the first chunk was returned "
        "and now may show up in the list."
    )
    return refusal(410, "Expired", message, metadata={"continue": token})


def expired_watch(gone: Compacted) -> Refused:
    return refusal(410, "Expired", f"too old resource version: {gone.version} ({gone.floor})")


def unsupported_patch(accepted: Iterable[str]) -> Refused:
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        f"{', '.join(accepted)}"
    )
    return refusal(415, "UnsupportedMediaType", message)


def unprocessable() -> Refused:
    """422 for a patch that cannot be applied."""
    message = "the server rejected our request due to an error in our request"
    return refusal(422, "Invalid", message, {})


def invalid_options(causes: list[tuple[str, str]]) -> Refused:
    """422 for query parameters. `causes`: (parameter, why it is forbidden)."""
    texts = [f"{field}: Forbidden: {why}" for field, why in causes]
    listed = [
        {"reason": "FieldValueForbidden", "message": f"Forbidden: {why}", "field": field}
        for field, why in causes
    ]
    message = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": listed}
    return refusal(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {message}', details)


def nameless(resource: Resource) -> Refused:
    return invalid(resource, "", [Cause("Required", "metadata.name", "name or generateName is required")])


class Cause(NamedTuple):
    """The error of one field (apimachinery, field.Error). `kind`: Required, Invalid, Forbidden or Duplicate.
    `value`: shown as JSON for Invalid and Duplicate."""

    kind: str
    field: str
    why: str = ""
    value: object = None

    @property
    def text(self) -> str:
        head = {"Duplicate": "Duplicate value", "Required": "Required value", "Invalid": "Invalid value"}
        shown = f": {go_json(self.value).decode()}" if self.kind in ("Invalid", "Duplicate") else ""
        return f"{head.get(self.kind, self.kind)}{shown}" + (f": {self.why}" if self.why else "")


def invalid(resource: Resource, name: str, causes: list[Cause]) -> Refused:
    listed = [
        {"reason": f"FieldValue{cause.kind}", "message": cause.text, "field": cause.field} for cause in causes
    ]
    texts = [f"{cause.field}: {cause.text}" for cause in causes]
    message = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details: dict[str, Any] = {"name": name} if name else {}
    details |= {"group": resource.group} if resource.group else {}
    details |= {"kind": resource.kind, "causes": listed}
    return refusal(422, "Invalid", f'{kind} "{name}" is invalid: {message}', details)


def too_large_version(version: int, current: int) -> Refused:
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {version}, current: {current}"
    refused = refusal(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})
    refused.headers["Retry-After"] = "1"
    return refused


def _qualified(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def _details(resource: Resource, name: str) -> dict[str, str]:
    details = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    return details | {"kind": resource.plural}
