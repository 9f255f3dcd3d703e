"""The small API server with what tests do to it: faults, credentials, refusals, restored backups, counts.

server = ApiServer(token="good")
server.faults.append(Fault("list", "pods", code=503, retry_after=1))  # see tests/lab/faults.py
server.forbid("watch", "pods")
server.send_event(PODS, false_change(server.store, PODS, "web/a"))
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from romana_bus.lab.kubeapi import http, server
from romana_bus.lab.kubeapi.discovery import document
from romana_bus.lab.kubeapi.read.listing import list_body, shown
from romana_bus.lab.kubeapi.read.selectors import selection
from romana_bus.lab.kubeapi.read.views import Event, view_of
from romana_bus.lab.kubeapi.read.watching import Beginning, Watch, beginning, line_for
from romana_bus.lab.kubeapi.status import Refused, refusal
from romana_bus.lab.kubeapi.store import Compacted, watch_line
from tests.lab.faults import Fault, take

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.lab.kubeapi.calls import Call
    from romana_bus.lab.kubeapi.read.selectors import Selection
    from romana_bus.lab.kubeapi.read.views import View
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.store import Store
    from romana_bus.lab.kubeapi.table import Change, Snapshot

#: Whom refusals name: the user of the recordings.
USER = "romana-watcher"

#: The fault of a request, in the request.
_FAULT = web.RequestKey("fault", Fault)

#: A socket with this is reset when it is closed: SO_LINGER, on, 0 seconds.
_RESET = struct.pack("ii", 1, 0)


def backup_of(store: Store) -> Store:
    """As a snapshot of etcd holds it, with the history that it has now. It may be restored more than once."""
    return deepcopy(store)


def restore(store: Store, backup: Store) -> None:
    """All is as it was then, also the version: those that were given out since are given out again."""
    vars(store).update(vars(deepcopy(backup)))


class ApiServer(server.ApiServer):
    """`token`: what requests must bear, if anything; `tokens`: or one of these, a set that may change at any
    time. `requests` counts (verb, plural); `faults` are what happens to the next ones."""

    def __init__(
        self, *args: Any, token: str | None = None, tokens: set[str] | None = None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.faults: list[Fault] = []
        self.requests: Counter[tuple[str, str]] = Counter()
        self._token, self._tokens = token, tokens
        self._forbidden: set[tuple[str, str]] = set()

    def compact(self, version: int) -> None:
        """History before `version` is gone; open watches don't notice."""
        self.store.compact(version)

    def snapshot(self) -> Store:
        """As of etcd; `restore` takes it."""
        return backup_of(self.store)

    def restore(self, backup: Store) -> None:
        """As when etcd is restored from an older snapshot: objects and version go back, and versions are
        given out again. Open watches are sent nothing until the version has passed theirs."""
        for watch in self._watches.of():
            watch.after = max(watch.after, self.store.version)
        restore(self.store, backup)

    def forbid(self, verb: str, plural: str) -> None:
        """Requests of this kind are answered 403 from now on; watches that are open go on."""
        self._forbidden.add((verb, plural))

    def allow(self, verb: str, plural: str) -> None:
        self._forbidden.discard((verb, plural))

    def send_line(self, line: bytes, plural: str = "") -> None:
        """Send raw bytes into the open watches."""
        for watch in self._watches.of(plural):
            watch.send(line)

    def send_event(self, resource: Resource, change: Change) -> None:
        """Send it to the open watches, even where it is not true or not new. The store does not change."""
        event = Event(change)
        for watch in self._watches.of(resource.plural):
            if watch.resource == resource and change.key.startswith(watch.call.prefix):
                watch.send(line_for(event, watch.view, watch.chosen))

    # --- requests ---

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not self._accepts(request) and not self._is_call(request):
            raise _unauthorized()  # without credentials a client does not learn what is served
        return await super()._answer(request)

    def _accepts(self, request: web.Request) -> bool:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        anybody = self._token is None and self._tokens is None
        return anybody or (kind == "Bearer" and token in {self._token, *(self._tokens or ())})

    def _is_call(self, request: web.Request) -> bool:
        try:
            super()._read(request)
        except Refused:
            return False
        return not (request.method == "GET" and document(request.path, self.store.resources))

    def _read(self, request: web.Request) -> Call:
        call = super()._read(request)
        self.requests[call.verb, call.resource.plural] += 1
        return call

    async def _do(self, request: web.Request, call: Call) -> web.StreamResponse:
        fault = request[_FAULT] = take(self.faults, call)
        if fault.code:
            raise fault.refusal
        if fault.silent:
            return await _silence(request, self._stopping)
        if fault.raw:
            return _raw(request, fault.raw)
        if not self._accepts(request):
            raise _unauthorized()
        if (call.verb, call.resource.plural) in self._forbidden:
            raise _forbidden(call)
        return await super()._do(request, _without(call, *fault.ignored))

    async def _shown(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if not request[_FAULT].cuts:
            return await super()._shown(request, body)
        stream = self._stream(request)
        with contextlib.suppress(ConnectionError):
            async with stream:
                await stream.write(body)
        return stream.response

    def _stream(self, request: web.Request) -> http.Stream:
        return _CutOff(request, request[_FAULT])

    def _list(self, request: web.Request, call: Call) -> bytes:
        fault = request[_FAULT]
        if fault.same_page:
            call = _without(call, "continue")
        if fault.without is None:
            body = super()._list(request, call)
        else:
            body = list_body(_lacking(self.store, call, fault), call, view_of(call, server.utc_now))
        return fault.falsified(body)

    def _open(self, request: web.Request, call: Call) -> Watch:
        watch = super()._open(request, call)
        watch.send(request[_FAULT].line)
        return watch

    def _beginning(self, request: web.Request, call: Call, view: View, chosen: Selection) -> Beginning:
        fault = request[_FAULT]
        version = call.number("resourceVersion")
        if fault.expired:
            raise Compacted(version, fault.below or version + 1)
        begin = beginning(_lacking(self.store, call, fault), call, view, chosen)
        if call.flag("sendInitialEvents") or not (version or "sendInitialEvents" in call.query):
            return begin._replace(lines=_falsified(begin, fault))
        return begin


def _without(call: Call, *options: str) -> Call:
    """The call without these options, as an older server reads it."""
    return call._replace(query={name: text for name, text in call.query.items() if name not in options})


class _Lacking:
    """A store whose lists lack what a fault leaves out of what `call` asks for."""

    def __init__(self, store: Store, call: Call, fault: Fault) -> None:
        self._store, self._call, self._fault = store, call, fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def snapshot(self, _resource: Resource, version: int) -> Snapshot:
        whole = shown(self._store, self._call, selection(self._call), version)
        gone = frozenset(self._fault.without(whole.keys) if self._fault.without else ())
        kept = [place for place, key in enumerate(whole.keys) if key not in gone]
        return whole._replace(
            keys=[whole.keys[place] for place in kept], raws=[whole.raws[place] for place in kept]
        )


def _lacking(store: Store, call: Call, fault: Fault) -> Any:
    return _Lacking(store, call, fault)


def _falsified(begin: Beginning, fault: Fault) -> Iterator[bytes]:
    """Initial events, with the fault's items before their end, which shows the fault's version."""
    items = [watch_line("ADDED", item) for item in fault.items]
    for line in begin.lines:
        if b'"k8s.io/initial-events-end"' not in line:
            yield line
            continue
        yield from items
        items = []
        if fault.version is not None:
            was, now = b"%d" % begin.version, fault.version.encode()
            line = line.replace(b'"resourceVersion":"%s"' % was, b'"resourceVersion":"%s"' % now)
        yield line
    yield from items


class _CutOff(http.Stream):
    """An answer in parts, until `fault` cuts it off."""

    def __init__(self, request: web.Request, fault: Fault) -> None:
        super().__init__(request)
        self._fault, self._left = fault, fault.cut_at
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        if self._fault.cut_after is not None:
            self._timer = asyncio.get_running_loop().call_later(self._fault.cut_after, self._cut)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()  # the connection may live on, with another request

    async def write(self, body: bytes) -> None:
        """Raises ConnectionError when the client is gone, or was cut off."""
        if self._left is None:
            await super().write(body)
            return
        sent, self._left = body[: self._left], self._left - len(body)
        if sent:
            await super().write(sent)
        if self._left <= 0:
            self._cut()
            raise ConnectionResetError("cut off as asked")

    def _cut(self) -> None:
        transport = self._request.transport
        if transport is None:
            return
        if self._fault.reset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        else:
            transport.close()


def _raw(request: web.Request, answer: bytes) -> web.Response:
    """All of an answer, byte for byte, and the end of the connection."""
    if request.transport is not None:
        request.transport.write(answer)
        request.transport.close()
    return web.Response()


async def _silence(request: web.Request, until: asyncio.Event) -> web.StreamResponse:
    """Headers, and then nothing."""
    async with http.Stream(request) as stream:
        await until.wait()
    return stream.response


def _unauthorized() -> Refused:
    return refusal(401, "Unauthorized", "Unauthorized")


def _forbidden(call: Call) -> Refused:
    resource = call.resource
    qualified = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    subject = qualified + (f' "{call.name}"' if call.name else "")
    scope = f'in the namespace "{call.namespace}"' if call.namespace else "at the cluster scope"
    message = (
        f'{subject} is forbidden: User "{USER}" cannot {call.verb} resource "{resource.plural}" '
        f'in API group "{resource.group}" {scope}'
    )
    details = {"name": call.name, "group": resource.group, "kind": resource.plural}
    refused = refusal(403, "Forbidden", message, {field: text for field, text in details.items() if text})
    refused.headers["X-Content-Type-Options"] = "nosniff"
    return refused
