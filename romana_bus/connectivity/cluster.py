"""The test's requests to the API server. Everything that it creates is in one namespace.

What the API server refuses, or does not answer, raises BadInput: the test cannot run. While pods are waited
for, a server that does not answer is asked again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from romana_bus import tasks
from romana_bus.connectivity.checks import Api
from romana_bus.connectivity.choice import NodeObject
from romana_bus.connectivity.leftovers import NamespaceObject
from romana_bus.connectivity.manifests import LABEL
from romana_bus.connectivity.pods import PodObject, Progress, progress
from romana_bus.errors import BadInput, Failed
from romana_bus.kubernetes.client import Refused, Unreachable
from romana_bus.kubernetes.resources import NAMESPACES, NODES, PODS, SERVICES
from romana_bus.producers.kubernetes.responses import allow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from romana_bus.kubernetes.client import KubeClient

Json = dict[str, Any]
T = TypeVar("T")

#: The RBAC rules that a test needs (rbac.authorization.k8s.io/v1, ClusterRole.rules).
RULES = (
    '{apiGroups: [""], resources: ["namespaces"], verbs: ["create", "delete", "get", "list"]}',
    '{apiGroups: [""], resources: ["nodes"], verbs: ["list"]}',
    '{apiGroups: [""], resources: ["pods"], verbs: ["create", "list"]}',
    '{apiGroups: [""], resources: ["pods/log"], verbs: ["get"]}',
    '{apiGroups: [""], resources: ["services"], verbs: ["get"]}',
)
#: Seconds between two looks at pods, and until a new namespace has its service account.
_LOOK_EVERY, _ACCOUNT_WITHIN = 0.1, 30.0


class _Service(msgspec.Struct):
    class _Spec(msgspec.Struct):
        class _Port(msgspec.Struct):
            port: int = 443

        clusterIPs: list[str] | None = None
        clusterIP: str = ""
        ports: list[_Port] | None = None

    spec: _Spec


class Cluster:
    """The cluster under test. `namespace`: the test's own. `is_changed`: the namespace may be there."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client, self.namespace = client, namespace
        self.is_changed = False

    async def nodes(self) -> list[NodeObject]:
        return _read(list[NodeObject], await _asked(self._client.objects(NODES)))

    async def api(self) -> Api:
        """How pods reach the API server, by the Service `kubernetes`; whether there is DNS, by kube-dns."""
        found = await _asked(self._client.get(SERVICES, "default", "kubernetes"))
        if found is None:
            return Api()
        spec = _read(_Service, found).spec
        dns = await _asked(self._client.get(SERVICES, "kube-system", "kube-dns"))
        addresses = tuple(spec.clusterIPs or filter(None, [spec.clusterIP]))
        return Api(addresses, spec.ports[0].port if spec.ports else 443, dns is not None)

    async def namespaces(self) -> list[NamespaceObject]:
        """Those of all tests."""
        found = await _asked(self._client.objects(NAMESPACES, label_selector=LABEL))
        return _read(list[NamespaceObject], found)

    async def create_namespace(self, body: Json) -> NamespaceObject:
        self.is_changed = True
        try:
            created = await self._client.create(NAMESPACES, "", body)
        except Failed as error:
            self.is_changed = not isinstance(error, Refused)  # it may have been created without an answer
            raise _explained(error) from None
        return _read(NamespaceObject, created)

    async def create(self, pods: Sequence[Json]) -> None:
        """Create these pods. The service account of a new namespace comes a moment after it."""
        until = tasks.monotonic() + _ACCOUNT_WITHIN
        for pod in pods:
            while True:
                try:
                    await self._client.create(PODS, self.namespace, pod)
                    break
                except Refused as refused:
                    late = "service account" in str(refused) and tasks.monotonic() < until
                    if not late:
                        raise _explained(refused) from None
                except Unreachable as error:
                    raise _explained(error) from None
                await asyncio.sleep(_LOOK_EVERY)

    async def until(
        self, names: Sequence[str], done: Callable[[Progress], bool], wait: float
    ) -> dict[str, Progress]:
        """Wait until all of these pods are `done`, or for `wait` seconds; returns how far each has come.
        Raises BadInput at once if the image cannot be used."""
        until = tasks.monotonic() + wait
        while True:
            unheard = ""
            try:
                found = await self._client.objects(PODS, namespace=self.namespace)
                pods = {pod.metadata.name: progress(pod) for pod in _read(list[PodObject], found)}
            except (Refused, Unreachable) as error:
                if isinstance(error, Refused) and error.code < 500 and error.code != 429:
                    raise _explained(error) from None
                unheard, pods = str(error), {}
            state = {name: pods.get(name, Progress()) for name in names}
            if hopeless := sorted({each.why for each in state.values() if each.hopeless}):
                raise BadInput(f"the probes cannot run: {'; '.join(hopeless)}: choose another --image")
            if not unheard and all(map(done, state.values())):
                return state
            if tasks.monotonic() > until:
                if unheard:
                    raise BadInput(f"the test cannot go on: {unheard}")
                return state
            await asyncio.sleep(_LOOK_EVERY)

    async def log(self, pod: str) -> str:
        """Raises Failed."""
        return await self._client.log(self.namespace, pod)

    async def remove(self, namespace: str, wait: float = 0.0) -> None:
        """Remove a namespace with everything in it; with `wait`, until it is gone. Raises Failed."""
        until = tasks.monotonic() + wait
        gone = not await self._client.delete(NAMESPACES, "", namespace)
        while wait and not gone:
            if tasks.monotonic() > until:
                raise Failed(f"it is still there after {wait:g} s")
            await asyncio.sleep(_LOOK_EVERY)
            gone = await self._client.get(NAMESPACES, "", namespace) is None


async def _asked(request: Awaitable[T]) -> T:
    """Raises BadInput where the API server refuses the request or does not answer."""
    try:
        return await request
    except Failed as error:
        raise _explained(error) from None


def _explained(error: Failed) -> BadInput:
    """With the rules to add, where it is RBAC that refuses; other refusals (403 too) say themselves why."""
    if isinstance(error, Refused) and error.code == 403 and " cannot " in str(error):
        return BadInput(f"{error}. {allow(RULES)}")
    if isinstance(error, Refused) and error.code == 401:
        return BadInput(f"the API server does not accept these credentials: {error}")
    return BadInput(f"the test cannot run: {error}")


def _read(kind: type[T], found: object) -> T:
    """Raises BadInput for an answer that is not what was asked for, such as a Status."""
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"the API server sent an answer that cannot be read: {error}") from None
