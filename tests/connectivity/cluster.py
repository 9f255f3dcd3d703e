"""A cluster without a network: the small API server, with a kubelet that only says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

from romana_bus import tasks
from romana_bus.connectivity import run
from romana_bus.connectivity.cluster import Cluster
from romana_bus.connectivity.manifests import LABEL
from romana_bus.kubernetes.api import Api, Target
from romana_bus.kubernetes.client import KubeClient, Pace, Refused
from romana_bus.kubernetes.resources import NAMESPACES, NODES, PODS, SERVICES
from romana_bus.lab.kubeapi.resources import BUILT_IN
from tests.lab.apiserver import ApiServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from romana_bus.connectivity.report import Report

Json = dict[str, Any]

OPTIONS = run.Options("busybox", "zone", 2, (), frozenset(), 24240, 30.0)
NAMESPACE = "romana-connectivity-test"


def running(address: str) -> Json:
    return {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}


class FakeCluster:
    """Nodes a1, a2 and b1 in zones a and b. `status`: what its kubelet says of a pod (None: nothing), and
    `log` what a pod prints; both may be replaced. `told`: what the user is told."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.server = ApiServer([*BUILT_IN, SERVICES], admission=True, log_file=self._log_file)
        self.status: Callable[[Json], Json | None] = self.usual_status
        self.log: Callable[[Json], str] = self.usual_log
        self.told: list[str] = []
        self._addresses = 0

    async def __aenter__(self) -> Self:
        self._stack = contextlib.AsyncExitStack()
        await self._stack.enter_async_context(self.server)
        self._api = await self._stack.enter_async_context(Api(Target(server=self.server.url)))
        self.client = KubeClient(self._api, Pace(answer=5.0, backoff=(0.01, 0.1)))
        for name, last in (("a1", 1), ("a2", 2), ("b1", 3)):
            addresses = [{"type": "InternalIP", "address": f"172.31.1.{last}"}]
            node = {"metadata": {"name": name, "labels": {"zone": name[0]}}}
            await self.client.create(NODES, "", node)
            status = {"conditions": [{"type": "Ready", "status": "True"}], "addresses": addresses}
            await self.client.patch(NODES, "", name, {"status": status}, subresource="status")
        for namespace, name, address in (
            ("default", "kubernetes", "10.96.0.1"),
            ("kube-system", "kube-dns", "10.96.0.2"),
        ):
            spec = {"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 443}]}
            await self.client.create(SERVICES, namespace, {"metadata": {"name": name}, "spec": spec})
        self._kubelet = asyncio.create_task(self._run_kubelet())
        return self

    async def __aexit__(self, *_: object) -> None:
        await tasks.stop(self._kubelet)
        await self._stack.aclose()

    async def test(self, **options: Any) -> Report:
        """Run the test. Raises BadInput."""
        cluster = Cluster(self.client, NAMESPACE)
        chosen = OPTIONS._replace(**options)
        return await run.run_test(cluster, chosen, lambda _: contextlib.nullcontext(), self.told.append)

    async def left(self) -> list[str]:
        """The namespaces of tests that are there."""
        found = await self.client.objects(NAMESPACES, label_selector=LABEL)
        return sorted(namespace["metadata"]["name"] for namespace in found)

    def usual_status(self, pod: Json) -> Json:
        """Listeners run, probes are over."""
        if not pod["metadata"]["name"].startswith("listener"):
            return {"phase": "Succeeded"}
        self._addresses += 1
        return running(f"10.20.0.{self._addresses}")

    def usual_log(self, pod: Json) -> str:
        """Every check succeeds."""
        checks = pod["spec"]["containers"][0]["command"][5:]
        return "".join(f"ok {check.split()[0]}\n" for check in checks) + "end\n"

    async def _run_kubelet(self) -> None:
        seen = set()
        async for kind, pod in self.client.watch(PODS):
            uid = pod and pod["metadata"]["uid"]
            if kind != "ADDED" or uid in seen:
                continue
            seen.add(uid)
            self._log_file(pod, "").write_text(self.log(pod))
            if (status := self.status(pod)) is not None:
                metadata = pod["metadata"]
                with contextlib.suppress(Refused):  # it was deleted meanwhile
                    body = {"status": status}
                    at = metadata["namespace"], metadata["name"]
                    await self.client.patch(PODS, *at, body, subresource="status")

    def _log_file(self, pod: Json, _container: str) -> Path:
        return self._directory / str(pod["metadata"]["uid"])


def node_of(pod: Json) -> str:
    """The node that a probe asks for."""
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return str(terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])
