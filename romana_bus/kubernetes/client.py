"""A client of the Kubernetes API that reads and writes objects. The watcher has its own, for speed.

    client = KubeClient(api)               # kubernetes.api.Api: kubeconfig, TLS, credentials
    async for kind, pod in client.watch(PODS, field_selector="spec.nodeName=a1"):
        ...                                # ("ADDED" | "MODIFIED" | "DELETED", object), ("SYNCED", {})
    await client.patch(PODS, "web", "a", {"status": {"phase": "Running"}}, subresource="status")

Objects are decoded JSON: dicts.

Errors: a write or a get raises Refused (the server's `code`, `reason` and message) or Unreachable (no
answer). Both are errors.Failed, so a command that does not catch them ends with one line. A watch raises
neither: it logs the failure, and retries for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import structlog

from romana_bus.errors import Failed
from romana_bus.kubernetes.api import NETWORK_ERRORS, read, reason
from romana_bus.kubernetes.known import Known
from romana_bus.kubernetes.resources import PODS
from romana_bus.kubernetes.status import read_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from romana_bus.kubernetes.api import Api
    from romana_bus.kubernetes.known import Seen
    from romana_bus.kubernetes.resources import Resource

log = structlog.get_logger(__name__)

Json = dict[str, Any]

#: The media types of patches (Kubernetes API concepts, "Patches").
PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}


class Refused(Failed):
    """The API server refused the request: 404, 409, 422 ... `reason` is one of metav1.StatusReason."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class Unreachable(Failed):
    """The API server did not answer. It may have carried out the request nevertheless."""


class Pace(NamedTuple):
    """Seconds. `answer`: timeout of one request. `watch`: the duration that a watch asks for. `backoff`:
    between attempts to watch, doubled from the first value to the second."""

    answer: float = 30.0
    watch: int = 300
    backoff: tuple[float, float] = (0.2, 5.0)


_PACE = Pace()


class _Event(msgspec.Struct):
    type: str
    object: Json


class KubeClient:
    """A client of one API server. Tasks may share it."""

    def __init__(self, api: Api, pace: Pace = _PACE) -> None:
        self._api, self._pace = api, pace

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """The object, or None if it does not exist. `namespace`: '' for a cluster-scoped resource, as in all
        methods. Raises Refused, Unreachable."""
        try:
            return await self._ask("GET", place(resource, namespace, name))
        except Refused as refused:
            if refused.code == 404:
                return None
            raise

    async def objects(
        self, resource: Resource, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> list[Json]:
        """All objects, from one unpaged list. Raises Refused, Unreachable."""
        query = selectors(label_selector, field_selector)
        path = place(resource, namespace)
        items = (await self._ask("GET", path, query)).get("items", "")
        if items is not None and not isinstance(items, list):
            raise Unreachable(f"GET {path}: the answer is not a list of {resource.plural}")
        return items or []

    async def log(self, namespace: str, pod: str) -> str:
        """The output of a pod's only container until now. Raises Refused, Unreachable."""
        answer = await self._send("GET", place(PODS, namespace, pod, "log"))
        return answer.decode(errors="replace")

    async def create(self, resource: Resource, namespace: str, body: Json, *, dry_run: bool = False) -> Json:
        query = {"dryRun": "All"} if dry_run else {}
        return await self._ask("POST", place(resource, namespace), query, body)

    async def replace(
        self, resource: Resource, namespace: str, name: str, body: Json, *, subresource: str = ""
    ) -> Json:
        """Replace the object. Raises Refused (409) if the resourceVersion in `body` is not the newest,
        Unreachable."""
        return await self._ask("PUT", place(resource, namespace, name, subresource), {}, body)

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: object,
        *,
        kind: Literal["merge", "strategic", "json"] = "merge",
        subresource: str = "",
    ) -> Json:
        """Patch the object; returns it. May be repeated. `kind`: 'merge' replaces whole lists; 'strategic'
        merges conditions by type, containers by name ... Raises Refused, Unreachable."""
        path = place(resource, namespace, name, subresource)
        return await self._ask("PATCH", path, {}, body, PATCHES[kind])

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, grace: int | None = None, uid: str = ""
    ) -> bool:
        """Delete the object; returns whether it existed. `grace`: seconds; 0 removes a pod at once, as its
        kubelet does at the end; None only marks a pod that is on a node (deletionTimestamp). `uid`: delete
        only the object with this uid, else return False. Raises Refused, Unreachable."""
        body: Json = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            await self._ask("DELETE", place(resource, namespace, name), {}, body)
        except Refused as refused:
            if refused.code == 404 or (uid and refused.code == 409):
                return False
            raise
        return True

    async def bind(self, namespace: str, name: str, node: str, *, uid: str = "") -> None:
        """Bind a pod to a node, as a scheduler does. Raises Refused (409) if it is already bound,
        Unreachable."""
        metadata = {"name": name, "namespace": namespace} | ({"uid": uid} if uid else {})
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/binding"
        await self._ask("POST", path, {}, body)

    async def watch(
        self, resource: Resource, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> AsyncIterator[Seen]:
        """Yields all objects as ADDED, then SYNCED, then changes. Reconnects. After 410 lists again and
        yields only differences: ADDED, MODIFIED, DELETED (with the last known state), then SYNCED. So a state
        that is built from the events is complete after each SYNCED, and no state is yielded twice. An object
        that was recreated under the same name is DELETED, then ADDED."""
        query = selectors(label_selector, field_selector)
        known, path = Known(), place(resource, namespace)
        first, most = self._pace.backoff
        delay = first
        while True:
            try:
                if not known.version:
                    for seen in await self._listing(path, query, known):
                        yield seen
                async for seen in self._following(path, query, known):
                    delay = first
                    yield seen
            except (Refused, Unreachable) as error:
                if isinstance(error, Refused) and error.code == 410:
                    known.version = ""
                log.warning("watch interrupted", resource=resource.plural, why=str(error))
                await asyncio.sleep(delay)
                delay = min(delay * 2, most)

    async def _listing(self, path: str, query: Mapping[str, str], known: Known) -> list[Seen]:
        answer = await self._ask("GET", path, query)
        return known.listed(answer["items"] or [], answer["metadata"]["resourceVersion"])

    async def _following(self, path: str, query: Mapping[str, str], known: Known) -> AsyncIterator[Seen]:
        """One watch, until the server ends it. Raises Refused and Unreachable."""
        seconds = self._pace.watch
        options = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        options["resourceVersion"] = known.version
        try:
            answer = await self._api.get(path, {**query, **options}, seconds + 10.0)
            async with answer:
                if answer.status != 200:
                    raise _refused(answer.status, await read(answer))
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event = msgspec.json.decode(line, type=_Event)
                        if event.type == "ERROR":
                            raise _refused(0, msgspec.json.encode(event.object))
                        for seen in known.changed(event.type, event.object):
                            yield seen
        except NETWORK_ERRORS as error:
            raise _unreachable(error) from None
        except msgspec.DecodeError as error:
            raise Unreachable(f"the API server sent a watch event that cannot be read: {error}") from None

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> Json:
        said = await self._send(method, path, query, body, content_type)
        try:
            return msgspec.json.decode(said, type=Json)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unreachable(f"{method} {path}: the answer is not JSON: {error}") from None

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        try:
            answer = await self._api.call(
                method, path, query or {}, body=body, content_type=content_type, silence=self._pace.answer
            )
            async with answer:
                said = await read(answer)
        except NETWORK_ERRORS as error:
            raise _unreachable(error) from None
        if answer.status >= 300:
            raise _refused(answer.status, said)
        return said


def place(resource: Resource, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The path of an object or, without a name, of a collection."""
    group, plural = resource.path.rsplit("/", 1)
    parts = [group, *(("namespaces", namespace) if namespace and resource.namespaced else ()), plural]
    return "/".join(parts + [part for part in (name, subresource) if part])


def selectors(label: str, field: str) -> dict[str, str]:
    both = {"labelSelector": label, "fieldSelector": field}
    return {option: value for option, value in both.items() if value}


def _refused(code: int, body: bytes) -> Refused:
    status = read_status(code, body)
    return Refused(status.code, status.reason, status.message)


def _unreachable(error: Exception) -> Unreachable:
    return Unreachable(f"the API server does not answer: {reason(error)}")
