"""The watcher against an API server that misbehaves in every way that real ones do."""

from __future__ import annotations

import asyncio

import pytest

from romana_bus.events import (
    ResourceListing,
)
from romana_bus.lab.kubeapi import resources as lab
from romana_bus.producers.kubernetes.progress import Watched, evolve
from tests.lab.apiserver import ApiServer
from tests.lab.faults import Fault
from tests.producers.kubernetes.watching import QUICK, pods, refusal, watching


@pytest.mark.parametrize("code", [429, 500, 503, 504])
async def test_server_errors_are_retried(code: int) -> None:
    async with ApiServer() as server:
        pods(server, "a")
        server.faults += [Fault("watch", "pods", times=2, code=code), Fault("list", "pods", code=code)]
        async with watching(server.url) as reported:
            await reported.until_reported("PodSeen a")
            await reported.until_reported("ResourceSynced")


async def test_retry_after_is_obeyed() -> None:
    async with ApiServer() as server:
        server.faults.append(Fault("watch", "pods", code=429, retry_after=1))
        clock = asyncio.get_running_loop().time
        began = clock()
        async with watching(server.url) as reported:
            await reported.until_reported("ResourceSynced")
        assert clock() - began >= 1.0


async def test_silent_connection_is_closed() -> None:
    async with ApiServer() as server:
        pods(server, "a")
        limits = QUICK._replace(silence=0.2)
        async with watching(server.url, limits=limits) as reported:
            await reported.until_reported("ResourceSynced")
            server.faults.append(Fault("watch", "pods", silent=True))
            server.close_watches()
            while server.faults:
                await asyncio.sleep(0.005)
            pods(server, "b")
            await reported.until_reported("PodSeen b")
        assert reported.short().count("ResourceListing") == 1


async def test_a_connection_cut_in_the_middle_of_a_line() -> None:
    async with ApiServer() as server:
        pods(server, "a")
        async with watching(server.url) as reported:
            await reported.until_reported("ResourceSynced")
            server.faults.append(Fault("watch", "pods", cut_at=50))
            server.close_watches()
            pods(server, "b", "c")
            await reported.until_reported("PodSeen c")
        assert [pod.name for pod in reported.pods()][-2:] == ["b", "c"]


async def test_malformed_json_in_a_watch_restarts_it_from_the_last_good_line() -> None:
    async with ApiServer() as server:
        pods(server, "a")
        async with watching(server.url) as reported:
            await reported.until_reported("ResourceSynced")
            pods(server, "b")
            await reported.until_reported("PodSeen b")
            server.send_line(b'{"type":"ADDED","object":{"met\n')
            pods(server, "c")
            await reported.until_reported("PodSeen c")
        assert [pod.name for pod in reported.pods()][-2:] == ["b", "c"]
        assert server.requests["watch", "pods"] == 2


async def test_a_line_of_three_megabytes() -> None:
    async with ApiServer() as server:
        version = server.store.version + 1
        raw: bytes = (
            b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"big","namespace":"web","uid":"u",'
            b'"resourceVersion":"%d","annotations":{"x":"%s"}},"spec":{"nodeName":"n1"}}'
        ) % (version, b"y" * 3_000_000)
        async with watching(server.url) as reported:
            await reported.until_reported("ResourceSynced")
            server.apply_recorded("ADDED", lab.PODS, raw)
            await reported.until_reported("PodSeen big")
        assert reported.pods()[-1].node == "n1"


async def test_missing_permissions_are_reported_with_the_rule_to_add() -> None:
    async with ApiServer() as server:
        server.forbid("watch", "pods")
        said = await refusal(server)
        assert 'User "romana-watcher" cannot watch resource "pods"' in said
        assert '{apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]}' in said


async def test_revoked_permissions_are_waited_for() -> None:
    async with ApiServer() as server:
        pods(server, "a")
        async with watching(server.url) as reported:
            await reported.until_reported("ResourceSynced")
            server.forbid("watch", "pods")
            server.close_watches()
            before = server.requests["watch", "pods"]
            while server.requests["watch", "pods"] < before + 2:
                await asyncio.sleep(0.005)
            server.allow("watch", "pods")
            pods(server, "b")
            await reported.until_reported("PodSeen b")


async def test_an_api_server_restored_from_a_backup() -> None:
    """It is at a version behind ours, so our watch would wait for ever."""
    async with ApiServer() as server:
        pods(server, "a", "b", "c", "d")
        async with watching(server.url) as reported:
            await reported.until_reported("ResourceSynced")
        state = Watched()
        for event in reported.events:
            evolve(state, event)
    async with ApiServer() as restored:
        pods(restored, "a", "new")
        limits = QUICK._replace(quiet=0.1)
        async with watching(restored.url, state=state, limits=limits) as again:
            await again.until_reported("PodGone d")
            assert [e.rewound for e in again.events if isinstance(e, ResourceListing)][-1]
            pods(restored, "later")
            await again.until_reported("PodSeen later")
        assert {"PodSeen a", "PodSeen new", "PodGone b"} <= set(again.short())
