"""A Kubernetes API server in memory, as a watcher sees it: lists, watches, and all that it may do wrong."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Mapping

BOOKMARKS = 60.0
#: How many answers from one page on.
PATHS = {"/api/v1/nodes": "nodes", "/api/v1/pods": "pods"}

Object = dict[str, Any]


class Change(NamedTuple):
    version: int
    kind: str
    type: str
    object: bytes


class Kube:
    """`truth`: kind -> key -> object. `lies`: of a kind, which keys its next list leaves out."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.version, self.compacted = 100, 0
        self.truth: dict[str, dict[str, Object]] = {"nodes": {}, "pods": {}}
        self.changes: deque[Change] = deque()
        self.lies: dict[str, Callable[[list[str]], set[str]]] = {}
        self.streams: dict[Stream, None] = {}  # in the order in which they were opened
        self.down_until = 0.0
        self.lists = self.restores = 0

    # --- what happens in the cluster ------------------------------------------------------------------------

    def put(self, kind: str, key: str, object: Object) -> None:
        self.version += 1
        there = key in self.truth[kind]
        object["metadata"]["resourceVersion"] = str(self.version)
        self.truth[kind][key] = object
        self._offer(Change(self.version, kind, "MODIFIED" if there else "ADDED", msgspec.json.encode(object)))

    def delete(self, kind: str, key: str) -> None:
        object = self.truth[kind].pop(key, None)
        if object is not None:
            self.version += 1
            object["metadata"]["resourceVersion"] = str(self.version)
            self._offer(Change(self.version, kind, "DELETED", msgspec.json.encode(object)))

    def _offer(self, change: Change) -> None:
        self.changes.append(change)
        for stream in self.streams:
            stream.offer(change)

    # --- what goes wrong ------------------------------------------------------------------------------------

    def compact(self) -> None:
        self.compacted = self.version
        self.changes.clear()

    def cut(self) -> None:
        """A balancer ends all connections."""
        for stream in list(self.streams):
            stream.break_off()

    def snapshot(self) -> bytes:
        return msgspec.json.encode([self.version, self.truth])

    def restore(self, snapshot: bytes) -> None:
        """etcd from a backup: what was written since then never happened. Later watches are silent."""
        self.restores += 1
        self.version, self.truth = msgspec.json.decode(snapshot)
        self.changes = deque(one for one in self.changes if one.version <= self.version)
        self.cut()

    def false_deletion(self, key: str) -> None:
        """Watches get a deletion of a pod that still exists."""
        object = self.truth["pods"].get(key)
        if object is not None:
            self.version += 1
            meta = object["metadata"] | {"resourceVersion": str(self.version)}
            line = msgspec.json.encode(object | {"metadata": meta})
            for stream in self.streams:
                stream.send(b'{"type":"DELETED","object":' + line + b"}\n", "pods")

    def touch(self, key: str) -> None:
        """A kubelet reports its pod without a change."""
        if key in self.truth["pods"]:
            self.put("pods", key, self.truth["pods"][key])

    def old_event_again(self) -> None:
        """Watches get an event a second time."""
        if self.changes:
            old = self.chance.choice(self.changes)
            line = b'{"type":"%s","object":' % old.type.encode() + old.object + b"}\n"
            for stream in self.streams:
                stream.send(line, old.kind)


class Api:
    """`producers.access.Api`, for the requests of one watcher."""

    generation = 0

    def __init__(self, kube: Kube, chance: random.Random) -> None:
        self._kube, self._chance = kube, chance

    async def renew(self, generation: int, anew: bool = False) -> None:
        del generation, anew

    async def get(self, path: str, query: Mapping[str, str], silence: float) -> Response:
        await asyncio.sleep(self._chance.uniform(0.001, 0.02))
        kube = self._kube
        namespace, kind = path.split("/")[-2:] if "/namespaces/" in path else ("", PATHS[path])
        if asyncio.get_running_loop().time() < kube.down_until:
            raise ConnectionRefusedError("the API server is away")
        if query.get("watch"):
            return Stream(kube, kind, query, silence)
        kube.lists += 1
        if "fieldSelector" in query:
            return Answer(self._one(kind, namespace, query["fieldSelector"].partition("=")[2]))
        return Answer(self._list(kind, query))

    def _one(self, kind: str, namespace: str, name: str) -> bytes:
        kube = self._kube
        key = f"{namespace}/{name}" if namespace else name
        items = [kube.truth[kind][key]] if key in kube.truth[kind] else []
        return msgspec.json.encode({"metadata": {"resourceVersion": str(kube.version)}, "items": items})

    def _list(self, kind: str, query: Mapping[str, str]) -> bytes:
        kube = self._kube
        keys = sorted(kube.truth[kind])
        if query.get("limit") != "1" and (lie := kube.lies.pop(kind, None)):
            left_out = lie(keys)
            keys = [key for key in keys if key not in left_out]
        items = [kube.truth[kind][key] for key in keys]
        return msgspec.json.encode({"metadata": {"resourceVersion": str(kube.version)}, "items": items})


class Response:
    status = 200
    headers: Mapping[str, str] = {}

    @property
    def content(self) -> Response:
        return self

    async def __aenter__(self) -> Response:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None: ...

    async def readany(self) -> bytes:
        return b""

    async def iter_any(self) -> AsyncIterator[bytes]:
        while chunk := await self.readany():
            yield chunk


class Answer(Response):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def readany(self) -> bytes:
        await asyncio.sleep(0.002)
        body, self._body = self._body, b""
        return body


class Stream(Response):
    """An open watch."""

    def __init__(self, kube: Kube, kind: str, query: Mapping[str, str], silence: float) -> None:
        self._kube, self._kind, self._silence = kube, kind, silence
        loop = asyncio.get_running_loop()
        self._end = loop.time() + float(query.get("timeoutSeconds", "300"))
        self._lines: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._broken = self._closed = False
        self._bookmark = loop.time() + BOOKMARKS
        version = int(query.get("resourceVersion", "0"))
        self._after = version or kube.version
        if query.get("sendInitialEvents"):
            self._initial()
        elif version and version < kube.compacted:
            self._lines.append(
                b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
                b'"message":"too old resource version","reason":"Expired","code":410}}\n'
            )
            self._end = 0.0
        else:
            for change in kube.changes:
                self.offer(change)
        kube.streams[self] = None

    def _initial(self) -> None:
        kube = self._kube
        keys = sorted(kube.truth[self._kind])
        lie = kube.lies.pop(self._kind, None)
        left_out = lie(keys) if lie else set()
        for key in keys:
            if key not in left_out:
                raw = msgspec.json.encode(kube.truth[self._kind][key])
                self._lines.append(b'{"type":"ADDED","object":' + raw + b"}\n")
        self._lines.append(self._mark(b',"annotations":{"k8s.io/initial-events-end":"true"}'))

    def _mark(self, more: bytes = b"") -> bytes:
        version = b"%d" % self._kube.version
        return (
            b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"' + version + b'"' + more + b"}}}\n"
        )

    def offer(self, change: Change) -> None:
        if change.kind == self._kind and change.version > self._after:
            self.send(b'{"type":"%s","object":' % change.type.encode() + change.object + b"}\n", self._kind)

    def send(self, line: bytes, kind: str) -> None:
        if kind == self._kind:
            self._lines.append(line)
            self._wake.set()

    def break_off(self) -> None:
        self._broken = True
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._kube.streams.pop(self, None)
        self._wake.set()

    async def readany(self) -> bytes:
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while True:
            if self._closed or self._broken:
                raise ConnectionResetError("cut")
            if self._lines:
                lines = b"".join(self._lines)
                self._lines.clear()
                await asyncio.sleep(0.001)
                return lines
            now = loop.time()
            if now >= self._end:
                return b""
            if now >= self._bookmark:
                self._bookmark = now + BOOKMARKS
                if self._kube.version >= self._after:
                    return self._mark()
            if now - heard >= self._silence:
                raise TimeoutError("nothing was said")
            await self._sleep(min(self._end, self._bookmark, heard + self._silence))

    async def _sleep(self, until: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout_at(until if math.isfinite(until) else None):
                await self._wake.wait()
        except TimeoutError:
            pass
