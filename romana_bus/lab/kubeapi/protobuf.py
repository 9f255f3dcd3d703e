"""Bodies in Kubernetes' protobuf encoding. Pure. (k8s.io/api and apimachinery, generated.proto)

kubectl sends two kinds in it, and does not fall back to JSON: `create namespace` (since 1.32) sends a
Namespace, `drain` sends DeleteOptions. It sends everything else as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.lab.kubeapi.status import bad_request

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"

#: Types of fields that are not messages. Then: message -> field number -> (name, type) of the field.
_TEXT, _BYTES, _INTEGER = "text", "bytes", "integer"
_MESSAGES: dict[str, dict[int, tuple[str, str]]] = {
    "Unknown": {1: ("typeMeta", "TypeMeta"), 2: ("raw", _BYTES)},
    "TypeMeta": {1: ("apiVersion", _TEXT), 2: ("kind", _TEXT)},
    "Namespace": {1: ("metadata", "ObjectMeta")},
    "ObjectMeta": {1: ("name", _TEXT)},
    "DeleteOptions": {1: ("gracePeriodSeconds", _INTEGER), 2: ("preconditions", "Preconditions")},
    "Preconditions": {1: ("uid", _TEXT), 2: ("resourceVersion", _TEXT)},
}
_KINDS = ("Namespace", "DeleteOptions")


def read(body: bytes) -> Json:
    """The object as decoded JSON; empty strings are left out. Raises Refused (400)."""
    try:
        if not body.startswith(_MAGIC):
            raise ValueError("it does not begin with k8s")
        envelope = _message(body[len(_MAGIC) :], "Unknown")
        head: Json = envelope["typeMeta"]
        if head["kind"] not in _KINDS:
            raise ValueError(f"a {head['kind']} is read as JSON or YAML only")
        return head | _message(envelope.get("raw", b""), head["kind"])
    except (LookupError, TypeError, ValueError) as error:
        raise bad_request(f"the body of the request is not {CONTENT_TYPE}: {error}") from None


def _message(body: bytes, name: str) -> Json:
    fields = _MESSAGES[name]
    return {
        fields[number][0]: _value(value, fields[number][1])
        for number, value in wire_fields(body)
        if number in fields and value != b""
    }


def _value(value: Any, kind: str) -> Any:
    match kind:
        case "bytes" | "integer":
            return value
        case "text":
            return value.decode()
        case _:
            return _message(value, kind)


def wire_fields(body: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(number, value) of each field of a message. Raises ValueError, LookupError."""
    start = 0
    while start < len(body):
        tag, start = _varint(body, start)
        if tag & 7 not in (0, 2):
            raise ValueError(f"a field of wire type {tag & 7}")
        value, start = _varint(body, start)
        if tag & 7 == 0:
            yield tag >> 3, value
            continue
        if start + value > len(body):
            raise ValueError("it ends within a field")
        yield tag >> 3, body[start : start + value]
        start += value


def _varint(body: bytes, start: int) -> tuple[int, int]:
    """The varint at `start`, and the offset behind it."""
    value = shift = 0
    while True:
        byte = body[start]
        start += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, start
