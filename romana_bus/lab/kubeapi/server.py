"""A small Kubernetes API server: lists, watches and writes of a few resources over HTTP, in one process.

Its answers are those of a real server, byte for byte: tests compare them with `recordings/`, and run
kubectl against it. It requires no credentials. (`tests/lab/apiserver.py` adds credentials and faults.)

Not supported: finalizers, managedFields, schemas; deletion of collections; answers in protobuf; following a
log; exec, evictions, events.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import msgspec
from aiohttp import web

from romana_bus.lab.kubeapi import http, status, upkeep, wire
from romana_bus.lab.kubeapi.calls import READ_ONLY, Call, check_options, read_call
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
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from pathlib import Path

    from romana_bus.lab.kubeapi.read.selectors import Selection
    from romana_bus.lab.kubeapi.read.views import View
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.write.writes import Written

#: Seconds between two renewals of the real server's lease (controlplane, IdentityLeaseRenewIntervalPeriod).
_LEASE_INTERVAL = 10.0

_HEALTH = ("/readyz", "/livez", "/healthz")

#: The real server takes no larger body (genericapiserver, MaxRequestBodyBytes).
_LARGEST_BODY = 3 * 1024 * 1024


class ApiServer:
    """`async with ApiServer() as server: ... server.url`. A second `async with` is a restart: same port,
    same objects.

    `streaming_list`: whether it supports sendInitialEvents. `bookmark_interval`, `compact_interval`,
    `lease_interval`: seconds; inf: never. `lease_interval`: between renewals of its own lease, which
    increment the version; None: as a real server with `admission`, else never, since recorded objects have
    their own versions. `watch_buffer`: the most lines that are queued for a slow watch. `graceful`,
    `admission`: see Rules; with both it behaves like a cluster. `log_file`: where the output of a pod's
    container is."""

    def __init__(
        self,
        resources: Iterable[Resource] = BUILT_IN,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        graceful: bool = False,
        admission: bool = False,
        streaming_list: bool = True,
        bookmark_interval: float = 60.0,
        compact_interval: float = 300.0,
        lease_interval: float | None = None,
        watch_buffer: int = 10_000,
        log_file: Callable[[dict[str, Any], str], Path | None] = lambda _pod, _container: None,
    ) -> None:
        self.store = Store(resources)
        self._host, self._port, self._log_file = host, port, log_file
        self._rules = Rules(graceful, admission)
        self._streaming_list = streaming_list
        self._bookmark_interval, self._watch_buffer = bookmark_interval, watch_buffer
        self._compact_interval = compact_interval
        self._lease_interval = lease_interval or (_LEASE_INTERVAL if admission else math.inf)
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
        """Apply one event of a recorded watch, with its recorded version and bytes. Raises ValueError if the
        object is of another kind, or not newer than the resource's last change."""
        key, version = wire.placed(resource, raw)
        self._watches.offer(resource, self.store.write(resource, kind, key, raw, version))

    def put(self, resource: Resource, body: dict[str, Any]) -> None:
        """Create an object, as a request would. Raises Refused."""
        namespace = body["metadata"].get("namespace", "")
        self._carry_out(Call("create", resource, namespace), msgspec.json.encode(body), "application/json")

    def watches(self, plural: str = "") -> int:
        """The number of open watches."""
        return len(self._watches.of(plural))

    def close_watches(self, plural: str = "") -> None:
        """End the open watches as a timeout does: queued lines are still sent."""
        self._watches.end(plural)

    # --- requests ---

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path in _HEALTH:
            return _healthy(request)
        try:
            return await self._answer(request)
        except Refused as refused:
            return http.reply(refused.code, refused.body + b"\n", refused.headers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and (found := document(request.path, self.store.resources)):
            return http.reply(200, found, {})
        return await self._do(request, self._read(request))

    def _read(self, request: web.Request) -> Call:
        accept = request.headers.get("Accept", "")
        return read_call(request.method, request.path, dict(request.query), accept, self.store.resources)

    async def _do(self, request: web.Request, call: Call) -> web.StreamResponse:
        match call.verb:
            case "watch":
                return await self._watch(request, call)
            case "list":
                return await self._shown(request, self._list(request, call))
            case "get" if call.subresource in READ_ONLY:
                return http.reply(200, self._log(call), http.TEXT)
            case "get":
                return await self._shown(request, self._get(call))
            case _:
                return await self._write(request, call)

    def _list(self, _request: web.Request, call: Call) -> bytes:
        check_options(call, streaming_list=self._streaming_list)
        return list_body(self.store, call, view_of(call, utc_now))

    def _get(self, call: Call) -> bytes:
        return view_of(call, utc_now).alone(self._raw(call)) + b"\n"

    def _raw(self, call: Call) -> bytes:
        raw = self.store.get(call.resource, call.key)
        if raw is None:
            raise status.not_found(call.resource, call.name)
        return raw

    def _log(self, call: Call) -> bytes:
        """The output of a container until now. Raises Refused (400) as a kubelet that has none does."""
        pod = msgspec.json.decode(self._raw(call))
        names = [container.get("name") for container in pod["spec"]["containers"]]
        container = call.query.get("container") or names[0]
        if container not in names:
            raise status.bad_request(f"container {container} is not valid for pod {call.name}")
        if file := self._log_file(pod, container):
            with contextlib.suppress(FileNotFoundError):
                return file.read_bytes()
        raise status.bad_request(
            f'container "{container}" in pod "{call.name}" is waiting to start: ContainerCreating'
        )

    async def _shown(self, _request: web.Request, body: bytes) -> web.StreamResponse:
        return http.reply(200, body, {})

    async def _write(self, request: web.Request, call: Call) -> web.StreamResponse:
        if call.verb == "patch" and request.content_type not in patches.ACCEPTED:
            raise status.unsupported_patch(patches.ACCEPTED)
        body = await request.read()
        try:
            written = self._carry_out(call, body, request.content_type)
        except RecursionError:
            raise status.bad_request("exceeded max depth") from None
        return http.reply(written.code, written.body + b"\n", {})

    def _carry_out(self, call: Call, body: bytes, content_type: str) -> Written:
        now = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
        uid = str(uuid.uuid4())
        rules = self._rules
        written = write(self.store, call, body, now=now, uid=uid, content_type=content_type, rules=rules)
        for resource, change in written.changes:
            self._watches.offer(resource, change)
        return written

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        check_options(call, streaming_list=self._streaming_list)
        watch, stream = self._open(request, call), self._stream(request)
        with self._watches.open(watch), contextlib.suppress(ConnectionError):  # the client has gone
            async with stream:
                while lines := await watch.next():
                    await stream.write(lines)
        return stream.response

    def _stream(self, request: web.Request) -> http.Stream:
        return http.Stream(request)

    def _beginning(self, _request: web.Request, call: Call, view: View, chosen: Selection) -> Beginning:
        return beginning(self.store, call, view, chosen)

    def _open(self, request: web.Request, call: Call) -> Watch:
        """A watch that gets every change from now on. An unusable version becomes an ERROR in its stream."""
        chosen, view = selection(call), view_of(call, utc_now)
        error = b""
        try:
            begin = self._beginning(request, call, view, chosen)
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


def utc_now() -> datetime:
    return datetime.now(UTC)


def _healthy(request: web.Request) -> web.StreamResponse:
    name = request.path.strip("/")
    text = f"[+]ping ok\n{name} check passed\n" if "verbose" in request.query else "ok"
    return http.reply(200, text.encode(), http.TEXT)


async def _hide_server(_request: web.Request, response: web.StreamResponse) -> None:
    """The real server sends no Server header."""
    response.headers.pop("Server", None)
