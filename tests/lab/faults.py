"""Faults that a test injects into the next requests of `tests.lab.apiserver.ApiServer`.

    server.faults.append(Fault("list", "pods", code=503, retry_after=1))
    server.faults.append(Fault("list", "pods", times=3, without=every_second))  # a wrong 200
    server.faults.append(Fault("watch", times=FOREVER, cut_after=2.0, reset=True))  # an impatient balancer
    server.faults.append(Fault("watch", "pods", FOREVER, expired=True, below=500))
    # sendInitialEvents is unknown, and nothing comes instead of the initial events:
    server.faults.append(Fault("watch", times=FOREVER, ignored=STREAMING_OPTIONS, without=everything))
    # an authenticating proxy, say, that lets no streaming list through:
    server.faults.append(Fault(times=FOREVER, code=400, streaming=True))

Open watches are sent wrong changes (`false_change`) with `ApiServer.send_event`, and raw bytes with
`ApiServer.send_line`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.lab.kubeapi import wire
from romana_bus.lab.kubeapi.read.continuation import continue_token
from romana_bus.lab.kubeapi.status import Refused, refusal
from romana_bus.lab.kubeapi.table import Change

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.calls import Call
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.store import Store

#: From the keys that a list would show, in its order, those to leave out.
Omission = Callable[[Sequence[str]], Collection[str]]

FOREVER = math.inf

_REASONS = {
    400: ("BadRequest", "the server rejected our request for an unknown reason"),
    401: ("Unauthorized", "Unauthorized"),
    404: ("NotFound", "the server could not find the requested resource"),
    410: ("Expired", "The resourceVersion for the provided list is too old."),
    422: ("Invalid", "the server rejected our request due to an error in our request"),
    429: ("TooManyRequests", "The server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "Internal error occurred: injected"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within the allotted timeout"),
}

#: What asks for a streaming list; a server that knows none of it serves an ordinary watch. (Kubernetes up to
#: 1.26 does not know the first, and answers 422 to the second in a watch: that is `code` and `streaming`.)
STREAMING_OPTIONS = ("sendInitialEvents", "resourceVersionMatch")


@dataclass
class Fault:
    """Happens to the next `times` requests of `verb` (as RBAC names it) on `plural`; '' is any. `below`: only
    to those from a version below it (and above 0); `streaming`: only to streaming lists. A request gets
    the first fault that matches it, with everything that this fault asks for.

    Instead of an answer: `code` (one of `_REASONS`), with `retry_after` in seconds; `silent`: headers, and
    then nothing; `raw`: these bytes, status line and all, and the connection is closed; `expired`: a watch is
    200 and an ERROR event with a Status 410, as of a version that is compacted.

    What is asked: `ignored` are options that the server does not know.

    What is listed, on pages and as the initial events of a watch: `without` leaves objects out, `items` are
    raw ones behind the others, `version` is shown as that of the list. `same_page`: every page of a list is
    the first one, and has a continue token.

    A watch: `line` is raw bytes behind what it begins with.

    The bytes of an answer to list, get or watch: after `cut_at` of them, or `cut_after` seconds, the
    connection is closed, `reset`: with a TCP reset."""

    verb: str = ""
    plural: str = ""
    times: float = 1
    code: int = 0
    retry_after: int | None = None
    silent: bool = False
    raw: bytes = b""
    cut_at: int | None = None
    line: bytes = b""
    below: int = 0
    streaming: bool = False
    expired: bool = False
    ignored: tuple[str, ...] = ()
    without: Omission | None = None
    items: tuple[bytes, ...] = ()
    version: str | None = None
    same_page: bool = False
    cut_after: float | None = None
    reset: bool = False

    def meets(self, call: Call) -> bool:
        return (
            self.verb in ("", call.verb)
            and self.plural in ("", call.resource.plural)
            and (not self.below or 0 < call.number("resourceVersion") < self.below)
            and (not self.streaming or "sendInitialEvents" in call.query)
        )

    @property
    def cuts(self) -> bool:
        """Whether an answer breaks off."""
        return self.cut_at is not None or self.cut_after is not None

    @property
    def refusal(self) -> Refused:
        """The answer with `code`, which has nothing to do with the request."""
        reason, message = _REASONS[self.code]
        details = {} if self.retry_after is None else {"retryAfterSeconds": self.retry_after}
        refused = refusal(self.code, reason, message, details)
        if self.retry_after is not None:
            refused.headers["Retry-After"] = str(self.retry_after)
        return refused

    def falsified(self, body: bytes) -> bytes:
        """A page of a list as this fault shows it; `body` ends with a newline."""
        if not (self.items or self.same_page or self.version is not None):
            return body
        page = msgspec.json.decode(body, type=_Page)
        if self.same_page and "continue" not in page.metadata:
            page.metadata["continue"] = _token(page)
        if self.version is not None:
            page.metadata["resourceVersion"] = self.version
        items = [*map(bytes, page.items), *self.items]
        return wire.list_of(page.kind, page.api_version, items, msgspec.json.encode(page.metadata)) + b"\n"


class _Page(msgspec.Struct, rename="camel"):
    kind: str
    api_version: str
    metadata: dict[str, Any]
    items: list[msgspec.Raw]


def _token(page: _Page) -> str:
    """Behind the last object of the page."""
    after = ""
    if page.items:
        last = wire.identity(page.items[-1])
        after = "/".join(filter(None, (last.namespace, last.name)))
    return continue_token(int(page.metadata["resourceVersion"]), f"/{after}\0")


NONE = Fault()


def take(pending: list[Fault], call: Call) -> Fault:
    """The first fault that matches `call`, with its count lowered; NONE where none does. Raises Refused (400)
    where a version that cannot be read decides it."""
    for fault in pending:
        if fault.meets(call):
            fault.times -= 1
            if fault.times <= 0:
                pending.remove(fault)
            return fault
    return NONE


# --- for `without` ---


def everything(keys: Sequence[str]) -> Collection[str]:
    return keys


def every_second(keys: Sequence[str]) -> Collection[str]:
    """The second, the fourth ..."""
    return keys[1::2]


def only(*left_out: str) -> Omission:
    """These keys: `namespace/name`, or `name` where the resource has no namespaces."""
    return lambda _: left_out


# --- for `ApiServer.send_event` ---


def false_change(
    store: Store, resource: Resource, key: str, kind: str = "DELETED", version: int | None = None
) -> Change:
    """A change of `kind` (as Change.type) that did not happen to the object, at `version`, which may be older
    than others; None is a new version. The store keeps the object. Raises KeyError where there is none."""
    raw = store.get(resource, key)
    if raw is None:
        raise KeyError(key)
    if version is None:
        version = store.version + 1
        store.advance(version)
    return Change(kind, key, version, wire.at_version(raw, version), raw)
