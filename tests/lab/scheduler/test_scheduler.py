"""The stand-ins' client, and the scheduler that runs on it, against a server that fails now and then."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.kubernetes.api import Api, Target
from romana_bus.kubernetes.client import KubeClient, Pace, Refused, Unreachable
from romana_bus.kubernetes.kubeconfig import kubeconfig
from romana_bus.lab.kubeapi.resources import NAMESPACES, NODES, PODS
from romana_bus.lab.scheduler.scheduler import Scheduler
from romana_bus.tasks import stop
from tests.lab.apiserver import ApiServer
from tests.lab.faults import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Json = dict[str, Any]

PACE = Pace(backoff=(0.01, 0.05))


@contextlib.asynccontextmanager
async def client_of(server: ApiServer, tmp_path: Path) -> AsyncIterator[KubeClient]:
    """As the CLI makes it: by way of a kubeconfig."""
    path = tmp_path / "config"
    path.write_text(kubeconfig(server.url, token="good"))
    async with Api(Target(kubeconfig=path)) as api:
        yield KubeClient(api, PACE)


@contextlib.asynccontextmanager
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[ApiServer, KubeClient]]:
    server = ApiServer(graceful=True, admission=True, token="good")
    async with server, client_of(server, tmp_path) as client:
        yield server, client


@contextlib.asynccontextmanager
async def scheduling(client: KubeClient) -> AsyncIterator[None]:
    running = asyncio.create_task(Scheduler(client).run())
    try:
        yield
    finally:
        await stop(running)


def pod(name: str, **spec: Any) -> Json:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}], **spec}}


def node(name: str) -> Json:
    return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


async def placed(client: KubeClient, **wanted: str) -> None:
    """Until the pods are where they should be."""
    while True:
        pods = await client.objects(PODS, namespace="default")
        found = {one["metadata"]["name"]: one["spec"].get("nodeName", "") for one in pods}
        if wanted.items() <= found.items():
            return
        await asyncio.sleep(0.01)


async def why(client: KubeClient, name: str) -> str:
    """Until there is a reason."""
    while True:
        found = await client.get(PODS, "default", name)
        assert found is not None
        for one in found["status"].get("conditions", []):
            if one["type"] == "PodScheduled" and one["status"] == "False":
                assert one["reason"] == "Unschedulable"
                return str(one["message"])
        await asyncio.sleep(0.01)


async def test_pods_are_spread_over_nodes(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client):
        for name in ("n1", "n2"):
            await client.create(NODES, "", node(name))
        for name in "ab":
            await client.create(PODS, "default", pod(name))
        async with scheduling(client):
            await placed(client, a="n1", b="n2")
            await client.create(PODS, "default", pod("c"))
            await placed(client, c="n1")


async def test_unschedulable_pod_has_a_reason_and_is_scheduled_later(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client), scheduling(client):
        await client.create(PODS, "default", pod("a"))
        assert await why(client, "a") == "no nodes available to schedule pods"
        await client.create(NODES, "", node("n1") | {"spec": {"unschedulable": True}})
        while "1 node(s) were unschedulable" not in await why(client, "a"):
            await asyncio.sleep(0.01)
        await client.patch(NODES, "", "n1", {"spec": {"unschedulable": None}})
        await placed(client, a="n1")


async def test_scheduler_survives_server_faults(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client), scheduling(client):
        await client.create(NODES, "", node("n1"))
        await client.create(PODS, "default", pod("a"))
        await placed(client, a="n1")
        server.compact(server.store.version)
        server.faults += [
            Fault("watch", "pods", code=500),
            Fault("watch", "pods", line=b'{"type":"ERROR","object":{"code":410,"message":"gone"}}\n'),
            Fault("list", "pods", code=503),
        ]
        server.close_watches()
        while server.faults:
            await asyncio.sleep(0.01)
        await client.create(PODS, "default", pod("b"))
        await placed(client, b="n1")


async def test_it_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    server = ApiServer(graceful=True, admission=True, token="good")
    async with contextlib.AsyncExitStack() as stack:
        async with server:
            client = await stack.enter_async_context(client_of(server, tmp_path))
            await stack.enter_async_context(scheduling(client))
            await client.create(NODES, "", node("n1"))
            await client.create(PODS, "default", pod("a"))
            await placed(client, a="n1")
        with pytest.raises(Unreachable, match="the API server does not answer"):
            await client.get(PODS, "default", "a")
        async with server:
            await client.create(PODS, "default", pod("b"))
            await placed(client, b="n1")


async def test_a_binding_that_fails_is_tried_again(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client), scheduling(client):
        await client.create(NODES, "", node("n1"))
        await client.create(PODS, "default", pod("a", schedulerName="mine"))
        server.faults.append(Fault("create", "pods", code=500))
        server.put(PODS, {"metadata": {"name": "b", "namespace": "default"}, "spec": pod("b")["spec"]})
        await placed(client, b="n1", a="")
        assert not server.faults


async def test_client_reads_and_writes(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client):
        assert await client.get(PODS, "default", "a") is None
        created = await client.create(PODS, "default", pod("a"))
        with pytest.raises(Refused, match='pods "a" already exists') as again:
            await client.create(PODS, "default", pod("a"))
        assert (again.value.code, again.value.reason) == (409, "AlreadyExists")
        await client.bind("default", "a", "n1")
        running = {"phase": "Running", "podIP": "10.0.0.1"}
        patched = await client.patch(PODS, "default", "a", {"status": running}, subresource="status")
        assert patched["status"].items() >= running.items()
        with pytest.raises(Refused, match="the object has been modified"):
            await client.replace(PODS, "default", "a", created)
        assert await client.delete(PODS, "default", "a")
        marked = await client.get(PODS, "default", "a")
        assert marked is not None
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
        assert not await client.delete(PODS, "default", "a", grace=0, uid="another")
        assert await client.delete(PODS, "default", "a", grace=0, uid=created["metadata"]["uid"])
        assert not await client.delete(PODS, "default", "a", grace=0)
        await client.create(NAMESPACES, "", {"metadata": {"name": "tried"}}, dry_run=True)
        assert await client.get(NAMESPACES, "", "tried") is None


async def test_watch_reports_the_difference_after_a_relist(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client):
        for name in ("a", "b", "c"):
            await client.create(PODS, "default", pod(name))
        watch = client.watch(PODS, field_selector="metadata.namespace=default")

        async def received(count: int) -> list[str]:
            events = [await anext(watch) for _ in range(count)]
            return [f"{kind} {item.get('metadata', {}).get('name', '')}".strip() for kind, item in events]

        assert await received(4) == ["ADDED a", "ADDED b", "ADDED c", "SYNCED"]
        await client.patch(PODS, "default", "a", {"metadata": {"labels": {"x": "1"}}})
        assert await received(1) == ["MODIFIED a"]
        while server.watches():
            server.close_watches()
            await asyncio.sleep(0.001)
        await client.delete(PODS, "default", "a")
        await client.delete(PODS, "default", "b")
        await client.create(PODS, "default", pod("b"))
        await client.create(PODS, "default", pod("d"))
        server.compact(server.store.version)
        assert await received(5) == ["DELETED a", "DELETED b", "ADDED b", "ADDED d", "SYNCED"]
        await watch.aclose()  # type: ignore[attr-defined]
