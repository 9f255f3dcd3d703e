"""metav1.Status: how an API server says that a request failed. Pure."""

from __future__ import annotations

import msgspec


class Status(msgspec.Struct, frozen=True):
    """`message`: for a person, never ''. `reason`: one of metav1.StatusReason, or ''."""

    message: str = ""
    reason: str = ""
    code: int = 0


def read_status(code: int, body: bytes) -> Status:
    """The Status in `body`; if it holds none, the message is the beginning of the body. `code`: the HTTP
    status, which takes precedence over the Status's own; 0 for a Status in a watch."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        status = Status()
    code = code or status.code
    said = status.message or body[:200].decode(errors="replace").strip() or f"HTTP {code}"
    return Status(said, status.reason, code)
