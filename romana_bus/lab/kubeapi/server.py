"""A small Kubernetes API server: lists, watches and writes of a few resources over HTTP, in one process.

Its answers are those of a real server, byte for byte: tests compare them with `recordings/`, and run
kubectl against it. Tests can also make it compact its history, refuse, fail, give wrong answers and hang
(`faults.py`), go back to an older state, count requests, and replay a recording.

Not served: finalizers, managedFields, schemas; the deletion of collections; answers in protobuf; logs, exec,
evictions, events.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import msgspec
from aiohttp import web

from romana_bus.lab.kubeapi import faults, http, status, upkeep, wire
from romana_bus.lab.kubeapi.calls import Call, check_options, read_call
from romana_bus.lab.kubeapi.discovery import document
from romana_bus.lab.kubeapi.read.listing import list_body
from romana_bus.lab.kubeapi.read.selectors import selection
from romana_bus.lab.kubeapi.read.views import view_of
from romana_bus.lab.kubeapi.read.watches import Watches
from romana_bus.lab.kubeapi.read.watching import Beginning, Watch, beginning
from romana_bus.lab.kubeapi.resources import BUILT_IN, NAMESPACES
from romana_bus.lab.kubeapi.status import Refused
from romana_bus.lab.kubeapi.store import Compacted, Store, watch_line
from romana_bus.lab.kubeapi.write import patches
from romana_bus.lab.kubeapi.write.admission import BORN, Rules
from romana_bus.lab.kubeapi.write.writes import write

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator

    from romana_bus.lab.kubeapi.faults import Fault
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.store import Backup
    from romana_bus.lab.kubeapi.table import Change
    from romana_bus.lab.kubeapi.write.writes import Written

#: Seconds between two renewals of the real server's lease (controlplane, IdentityLeaseRenewIntervalPeriod).
_LEASE_INTERVAL = 10.0

#: Whom refusals name: the user of the recordings.
USER = "romana-watcher"

_HEALTH = ("/readyz", "/livez", "/healthz")

#: The real server takes no larger body (genericapiserver, MaxRequestBodyBytes).
_LARGEST_BODY = 3 * 1024 * 1024


class ApiServer:
    """`async with ApiServer() as server: ... server.url`. A second `async with` is a restart: same port,
    same objects.

    `token`: what requests must bear, if anything; `tokens`: or one of these, a set that may change at any
    time. `streaming_list`: whether it knows sendInitialEvents.
    `bookmark_interval`, `compact_interval` and `lease_interval`: seconds, inf is never; the last is how often
    it writes something of its own, which moves the version: None is as often as a real one where there is
    `admission`, and else never, since what is recorded brings its versions along. `watch_buffer`:
    lines that may wait for one slow watch. `graceful` and `admission` are Rules: with both it behaves as a
    cluster does.
    `requests` counts (verb, plural); `faults` are what happens to the next ones."""

    def __init__(
        self,
        resources: Iterable[Resource] = BUILT_IN,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        graceful: bool = False,
        admission: bool = False,
        token: str | None = None,
        tokens: set[str] | None = None,
        streaming_list: bool = True,
        bookmark_interval: float = 60.0,
        compact_interval: float = 300.0,
        lease_interval: float | None = None,
        watch_buffer: int = 10_000,
    ) -> None:
        self.store = Store(resources)
        self.faults: list[Fault] = []
        self.requests: Counter[tuple[str, str]] = Counter()
        self._host, self._port, self._token, self._tokens = host, port, token, tokens
        self._rules = Rules(graceful, admission)
        self._streaming_list = streaming_list
        self._bookmark_interval, self._watch_buffer = bookmark_interval, watch_buffer
        self._compact_interval = compact_interval
        self._lease_interval = lease_interval or (_LEASE_INTERVAL if admission else math.inf)
        self._forbidden: set[tuple[str, str]] = set()
        self._watches = Watches()
        if admission:
            for name in BORN:
                self.put(NAMESPACES, {"metadata": {"name": name}})

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.on_response_prepare.append(_hide_server)
        self._stopping = asyncio.Event()
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = self._runner.addresses[0][1]
        self._jobs = [asyncio.create_task(job) for job in self._upkeep()]
        return self

    async def __aexit__(self, *_: object) -> None:
        for job in self._jobs:
            job.cancel()
        self._stopping.set()
        self.close_watches()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def _upkeep(self) -> Iterator[Coroutine[Any, Any, None]]:
        if not math.isinf(self._compact_interval):
            yield upkeep.compact_regularly(self.store, self._compact_interval)
        if not math.isinf(self._lease_interval):
            yield upkeep.renew_lease(self.store, self._lease_interval)

    # --- what tests and the player do to it ---

    def apply_recorded(self, kind: str, resource: Resource, raw: bytes) -> None:
        """One event of a recorded watch, with the version and the bytes that it had there. Raises
        ValueError if it is another kind of object, or not newer than the resource's last change."""
        key, version = wire.placed(resource, raw)
        self._watches.offer(resource, self.store.write(resource, kind, key, raw, version))

    def put(self, resource: Resource, body: dict[str, Any]) -> None:
        """Create one, as a request would. Raises Refused."""
        namespace = body["metadata"].get("namespace", "")
        self._do(Call("create", resource, namespace), msgspec.json.encode(body), "application/json")

    def compact(self, version: int) -> None:
        """History before `version` is gone; open watches don't notice."""
        self.store.compact(version)

    def snapshot(self) -> Backup:
        """As of etcd; `restore` takes it."""
        return self.store.backup()

    def restore(self, backup: Backup) -> None:
        """As when etcd is restored from an older snapshot: objects and version go back, and versions are
        given out again. Open watches are sent nothing until the version has passed theirs."""
        self._watches.skip(self.store.version)
        self.store.restore(backup)

    def forbid(self, verb: str, plural: str) -> None:
        """Requests of this kind are answered 403 from now on; watches that are open go on."""
        self._forbidden.add((verb, plural))

    def allow(self, verb: str, plural: str) -> None:
        self._forbidden.discard((verb, plural))

    def watches(self, plural: str = "") -> int:
        """How many watches are open."""
        return len(self._watches.of(plural))

    def close_watches(self, plural: str = "") -> None:
        """End the open watches as a timeout does: queued lines are still sent."""
        self._watches.end(plural)

    def send_line(self, line: bytes, plural: str = "") -> None:
        """Send raw bytes into the open watches."""
        self._watches.send(line, plural)

    def tell(self, resource: Resource, change: Change) -> None:
        """Send it to the open watches, even where it is not true or not new. The store does not change."""
        self._watches.show(resource, change)

    # --- requests ---

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path in _HEALTH:
            return _healthy(request)
        try:
            return await self._answer(request)
        except Refused as refused:
            return http.reply(request, refused.code, refused.body + b"\n", refused.headers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and (found := document(request.path, self.store.resources)):
            self._authenticate(request)
            return http.reply(request, 200, found, {})
        call = self._read(request)
        fault = faults.take(self.faults, call)
        call = call.without_options(fault.ignored)
        if fault.code:
            raise status.fault(fault.code, fault.retry_after)
        if fault.silent:
            return await http.silence(request, self._stopping)
        if fault.raw:
            return http.raw(request, fault.raw)
        self._authenticate(request)
        if (call.verb, call.resource.plural) in self._forbidden:
            raise status.forbidden(call.resource, call.verb, USER, call.namespace, call.name)
        match call.verb:
            case "watch":
                return await self._watch(request, call, fault)
            case "list":
                return await self._list(request, call, fault)
            case "get":
                return await self._get(request, call, fault)
            case _:
                return await self._write(request, call)

    def _read(self, request: web.Request) -> Call:
        try:
            call = read_call(
                request.method,
                request.path,
                dict(request.query),
                request.headers.get("Accept", ""),
                self.store.resources,
            )
        except Refused:
            self._authenticate(request)  # without credentials a client does not learn what is served
            raise
        self.requests[call.verb, call.resource.plural] += 1
        return call

    def _authenticate(self, request: web.Request) -> None:
        if self._token is None and self._tokens is None:
            return
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or token not in {self._token, *(self._tokens or ())}:
            raise status.unauthorized()

    async def _list(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        check_options(call, streaming_list=self._streaming_list)
        return await _shown(request, list_body(self.store, call, view_of(call, _clock), fault), fault)

    async def _get(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        raw = self.store.get(call.resource, call.key)
        if raw is None:
            raise status.not_found(call.resource, call.name)
        return await _shown(request, view_of(call, _clock).alone(raw) + b"\n", fault)

    async def _write(self, request: web.Request, call: Call) -> web.StreamResponse:
        if call.verb == "patch" and request.content_type not in patches.ACCEPTED:
            raise status.unsupported_patch(patches.ACCEPTED)
        body = await request.read()
        try:
            written = self._do(call, body, request.content_type)
        except RecursionError:
            raise status.bad_request("exceeded max depth") from None
        return http.reply(request, written.code, written.body + b"\n", {})

    def _do(self, call: Call, body: bytes, content_type: str) -> Written:
        now = _clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        uid = str(uuid.uuid4())
        rules = self._rules
        written = write(self.store, call, body, now=now, uid=uid, content_type=content_type, rules=rules)
        for resource, change in written.changes:
            self._watches.offer(resource, change)
        return written

    async def _watch(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        check_options(call, streaming_list=self._streaming_list)
        watch = self._open(request, call, fault)
        if fault.line:
            watch.send(fault.line)
        stream = http.Stream(request, fault)
        with self._watches.open(watch), contextlib.suppress(ConnectionError):  # the client has gone
            async with stream:
                while lines := await watch.next():
                    await stream.write(lines)
        return stream.response

    def _open(self, request: web.Request, call: Call, fault: Fault) -> Watch:
        """A watch that is sent every change from now on. An unusable version is an error in its stream."""
        chosen, view = selection(call), view_of(call, _clock)
        error = b""
        try:
            if fault.expired:
                raise Compacted(version := call.number("resourceVersion"), fault.below or version + 1)
            begin = beginning(self.store, call, view, chosen, fault)
        except Compacted as gone:
            error = status.expired_watch(gone).body
        except Refused as refused:
            error = refused.body
        if error:
            begin = Beginning(self.store.version, iter([watch_line("ERROR", error)]))
        watch = Watch(
            call,
            view,
            chosen,
            begin.version,
            begin.lines,
            current=lambda: self.store.version,
            cut_off=lambda: request.transport.abort() if request.transport else None,
            timeout=call.number("timeoutSeconds") or math.inf,
            bookmark_interval=self._bookmark_interval if call.flag("allowWatchBookmarks") else math.inf,
            limit=self._watch_buffer,
        )
        if error:
            watch.end()
        return watch


async def _shown(request: web.Request, body: bytes, fault: Fault) -> web.StreamResponse:
    if fault.cuts:
        return await http.cut(request, body, fault)
    return http.reply(request, 200, body, {})


def _clock() -> datetime:
    return datetime.now(UTC)


def _healthy(request: web.Request) -> web.StreamResponse:
    name = request.path.strip("/")
    text = f"[+]ping ok\n{name} check passed\n" if "verbose" in request.query else "ok"
    return http.reply(request, 200, text.encode(), http.TEXT)


async def _hide_server(_request: web.Request, response: web.StreamResponse) -> None:
    """The real server sends no Server header."""
    response.headers.pop("Server", None)
