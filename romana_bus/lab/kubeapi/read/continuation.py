"""Continue tokens, which encode where the next page of a list begins, in the real server's format. Pure.

(apiserver, storage/continue.go)
"""

from __future__ import annotations

import base64
import posixpath
from typing import TYPE_CHECKING

import msgspec

from romana_bus.lab.kubeapi.status import bad_request

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.status import Refused

_VERSION = "meta.k8s.io/v1"


class _Token(msgspec.Struct):
    v: str
    rv: int
    start: str


def continue_token(version: int, start: str) -> str:
    """The token of a page that begins at the first key not below `start`. `version`: of the list; -1: the
    current version."""
    body = msgspec.json.encode(_Token(_VERSION, version, start))
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def read_continue_token(token: str) -> tuple[int, str]:
    """(version, start, without its leading slash). Raises Refused (400)."""
    try:
        body = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise _refused("illegal base64 data") from None
    if not body.startswith(b"{"):
        raise _refused(
            f"invalid character '{body[:1].decode(errors='replace')}' looking for beginning of value"
        )
    try:
        read = msgspec.json.decode(body, type=_Token)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _refused(str(error)) from None
    if read.v != _VERSION:
        raise _refused(f"server does not recognize this encoded version {read.v}")
    if not -1 <= read.rv < 2**63 or not read.rv or not read.start:
        raise _refused(f"incorrect encoded start (version {_VERSION})")
    key = read.start.removeprefix("/")
    if posixpath.normpath(f"/{key.lstrip('/')}") != f"/{key}":  # `..` must not leave the collection
        raise _refused("the start leads out of the collection")
    return read.rv, key


def _refused(why: str) -> Refused:
    return bad_request(f"invalid continue token: continue key is not valid: {why}")
