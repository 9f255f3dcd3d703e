"""Bodies in Kubernetes' protobuf encoding: the few that kubectl sends so, `create ns` since 1.32. Pure.

(k8s.io/api and apimachinery, generated.proto.) Other kinds are refused: clients may always send JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.lab.kubeapi.status import bad_request

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"


class _Field(NamedTuple):
    """`message`: what it is made of, '' for text, 'int' or 'map' (of text to text)."""

    name: str
    message: str = ""
    repeated: bool = False


_MESSAGES: dict[str, dict[int, _Field]] = {
    "Unknown": {1: _Field("typeMeta", "TypeMeta"), 2: _Field("raw", "bytes")},
    "TypeMeta": {1: _Field("apiVersion"), 2: _Field("kind")},
    "ObjectMeta": {
        1: _Field("name"),
        2: _Field("generateName"),
        3: _Field("namespace"),
        5: _Field("uid"),
        6: _Field("resourceVersion"),
        11: _Field("labels", "map"),
        12: _Field("annotations", "map"),
        14: _Field("finalizers", "", repeated=True),
    },
    "Namespace": {1: _Field("metadata", "ObjectMeta")},
    "DeleteOptions": {
        1: _Field("gracePeriodSeconds", "int"),
        2: _Field("preconditions", "Preconditions"),
        4: _Field("propagationPolicy"),
        5: _Field("dryRun", "", repeated=True),
    },
    "Preconditions": {1: _Field("uid"), 2: _Field("resourceVersion")},
}

#: What a body may be.
_READABLE = ("Namespace", "DeleteOptions")


def read(body: bytes) -> Json:
    """As JSON would have it; empty texts are left out. Raises Refused (400)."""
    try:
        if not body.startswith(_MAGIC):
            raise ValueError("it does not begin with k8s")
        envelope = _message(body[len(_MAGIC) :], "Unknown")
        kind = envelope["typeMeta"]["kind"]
        if kind not in _READABLE:
            raise bad_request(f"a {kind} is read as JSON or YAML here, not as {CONTENT_TYPE}")
        top: Json = envelope["typeMeta"]
        return top | _message(envelope.get("raw", b""), kind)
    except (LookupError, ValueError) as error:
        raise bad_request(f"the body of the request is not {CONTENT_TYPE}: {error}") from None


def _message(body: bytes, name: str) -> Json:
    fields, found = _MESSAGES[name], dict[str, Any]()
    for number, value in _fields(body):
        field = fields.get(number)
        if field is None or value == b"":
            continue
        read_value = _value(value, field.message)
        if field.message == "map":
            found.setdefault(field.name, {}).update(read_value)
        elif field.repeated:
            found.setdefault(field.name, []).append(read_value)
        else:
            found[field.name] = read_value
    return found


def _value(value: bytes | int, message: str) -> Any:
    if isinstance(value, int):
        return value - (1 << 64) if value >> 63 else value
    match message:
        case "bytes":
            return value
        case "map":
            pair = dict(_fields(value))
            return {bytes(pair.get(1, b"")).decode(): bytes(pair.get(2, b"")).decode()}
        case "" | "int":
            return value.decode()
        case _:
            return _message(value, message)


def _fields(body: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(number, value) of each field of a message. Raises ValueError and LookupError."""
    at = 0
    while at < len(body):
        tag, at = _varint(body, at)
        match tag & 7:
            case 0:
                value, at = _varint(body, at)
                yield tag >> 3, value
            case 2:
                size, at = _varint(body, at)
                if at + size > len(body):
                    raise ValueError("it ends within a field")
                yield tag >> 3, body[at : at + size]
                at += size
            case other:
                raise ValueError(f"a field of wire type {other}")


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def field(number: int, value: bytes) -> bytes:
    """A text, or a message, as a field of another."""
    return _written(number << 3 | 2) + _written(len(value)) + value


def _written(value: int) -> bytes:
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
