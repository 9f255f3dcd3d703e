"""Continue tokens: where the next page of a list begins, written and read as the real server does. Pure.

Go's words for what it cannot read: apiserver, storage/continue.go; encoding/base64; encoding/json.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.lab.kubeapi.status import bad_request

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.status import Refused

_VERSION = "meta.k8s.io/v1"

#: What Python says of a text that is not JSON, and what Go says of the same character.
_SYNTAX = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Extra data": "after top-level value",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
}


#: The fields of a token and their types, in Python and in Go.
_FIELDS = {"v": (str, "string"), "rv": (int, "int64"), "start": (str, "string")}

_GO_NAMES = {str: "string", bool: "bool", list: "array", dict: "object", int: "number", float: "number"}


def continue_token(version: int, start: str) -> str:
    """The list goes on with the first key not below `start`, as it was at `version`; -1 is "as it is now"."""
    body = msgspec.json.encode({"v": _VERSION, "rv": version, "start": start})
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def read_continue_token(token: str) -> tuple[int, str]:
    """(version, start, without its leading slash). Raises Refused (400) in the server's own words."""
    read = _read_json(_read_base64(token))
    encoded, version, start = _text(read.get("v")), read.get("rv") or 0, _text(read.get("start"))
    if encoded != _VERSION:
        raise _refused(f"server does not recognize this encoded version {encoded}")
    if not version:
        raise _refused(f"incorrect encoded start resourceVersion (version {_VERSION})")
    if not start:
        raise _refused(f"encoded start key empty (version {_VERSION})")
    key = start.removeprefix("/")
    if posixpath.normpath(f"/{key.lstrip('/')}") != f"/{key}":  # it must not lead out of its collection
        raise _refused(start)
    return version, key


def _read_base64(token: str) -> bytes:
    """Without padding, as base64.RawURLEncoding; line breaks are skipped."""
    plain = re.sub(r"[\r\n]", "", token)
    if wrong := re.search(r"[^A-Za-z0-9_-]", plain):
        raise _refused(f"illegal base64 data at input byte {wrong.start()}")
    if len(plain) % 4 == 1:
        raise _refused(f"illegal base64 data at input byte {len(plain) - 1}")
    return base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))


def _read_json(body: bytes) -> dict[str, Any]:
    """The fields that are there, of the types that they have to be of."""
    try:
        json.loads(body.decode("latin-1"))  # errors speak of single bytes
        read = json.loads(body.decode(errors="replace"))
    except json.JSONDecodeError as error:
        raise _refused(_syntax_error(error)) from None
    except RecursionError:
        raise _refused("exceeded max depth") from None
    except ValueError as error:  # a number of more digits than are read
        raise _refused(str(error)) from None
    if not isinstance(read, dict | None):
        raise _refused(f"json: cannot unmarshal {_GO_NAMES[type(read)]} into Go value of type continueToken")
    for field, (wanted, go_type) in _FIELDS.items():
        value = (read or {}).get(field)
        fits = type(value) is wanted and (not isinstance(value, int) or -(2**63) <= value < 2**63)
        if value is not None and not fits:
            where = f"Go struct field continueToken.{field} of type {go_type}"
            raise _refused(f"json: cannot unmarshal {_GO_NAMES[type(value)]} into {where}")
    return read or {}


def _text(value: str | None) -> str:
    """Half of a surrogate pair is no character, and could not be said in an answer."""
    return re.sub("[\ud800-\udfff]", "\ufffd", value or "")


def _syntax_error(error: json.JSONDecodeError) -> str:
    if error.pos >= len(error.doc) or error.msg not in _SYNTAX:
        return "unexpected end of JSON input"
    return f"invalid character {_quoted(error.doc[error.pos])} {_SYNTAX[error.msg]}"


def _quoted(character: str) -> str:
    """Like Go's strconv.Quote, between single quotes."""
    if character == "'":
        return r"'\''"
    escaped = character.isprintable() or character < "\x80"
    return f"'{repr(character)[1:-1]}'" if escaped else rf"'\u{ord(character):04x}'"


def _refused(why: str) -> Refused:
    return bad_request(f"invalid continue token: continue key is not valid: {why}")
