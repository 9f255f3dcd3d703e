"""The watcher: listings, watches, restarts, and resources for third parties."""

from __future__ import annotations

import asyncio

import pytest

from romana_bus.events import (
    Event,
    ObjectSeen,
    PodSeen,
    ResourceSynced,
)
from romana_bus.kubernetes.api import Api, Target
from romana_bus.lab.kubeapi import resources as lab
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.objects import NAMESPACES, PODS, other_kind
from romana_bus.producers.kubernetes.progress import Watched, evolve
from romana_bus.producers.kubernetes.resource_watch import ResourceWatch
from tests.kube_verbatim import Answer, VerbatimServer, recorded
from tests.lab.apiserver import ApiServer
from tests.lab.client import add
from tests.producers.kubernetes.watching import (
    NO_STREAMING_LIST,
    QUICK,
    RECORDINGS,
    Reported,
    delete,
    pods,
    refusal,
    watching,
)


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming list", "pages"])
async def test_listing_then_watch(streaming: bool) -> None:
    async with ApiServer(streaming_list=streaming) as server:
        pods(server, "a", "b", "c", "d", "e")
        async with watching(server.url) as reported:
            short = await reported.until_reported("ResourceSynced")
            assert short == ["ResourceListing", *(f"PodSeen {n}" for n in "abcde"), "ResourceSynced"]
            pods(server, "f")
            delete(server, "a")
            assert (await reported.until_reported("PodGone a"))[-2:] == ["PodSeen f", "PodGone a"]
        assert server.requests["list", "pods"] == (0 if streaming else 3)
        mark = next(event for event in reported.events if isinstance(event, ResourceSynced))
        assert mark.count == 5


async def test_an_empty_cluster_is_synced_too() -> None:
    async with ApiServer() as server, watching(server.url) as reported:
        assert await reported.until_reported("ResourceSynced") == ["ResourceListing", "ResourceSynced"]


async def test_a_watch_closed_by_the_server_goes_on_where_it_was() -> None:
    async with ApiServer() as server:
        pods(server, "a")
        async with watching(server.url) as reported:
            await reported.until_reported("ResourceSynced")
            for name in "bcd":
                watches = server.requests["watch", "pods"]
                server.close_watches()
                pods(server, name)  # while nobody watches
                await reported.until_reported(f"PodSeen {name}")
                assert server.requests["watch", "pods"] > watches
            assert reported.short().count("ResourceListing") == 1


async def test_a_restarted_watcher_goes_on_from_the_log_without_a_listing() -> None:
    async with ApiServer() as server:
        pods(server, "a", "b")
        async with watching(server.url) as reported:
            await reported.until_reported("ResourceSynced")
            pods(server, "c")
            await reported.until_reported("PodSeen c")
        pods(server, "d")
        delete(server, "a")
        state, listings = Watched(), server.requests["list", "pods"]
        for event in reported.events:
            evolve(state, event)
        async with watching(server.url, state=state) as again:
            assert await again.until_reported("PodGone a") == ["PodSeen d", "PodGone a"]
        assert server.requests["list", "pods"] == listings


async def test_compacted_version_is_listed_again_and_deletions_are_published() -> None:
    """410 as an ERROR event."""
    async with ApiServer() as server:
        pods(server, "a", "b")
        async with watching(server.url) as reported:
            await reported.until_reported("ResourceSynced")
        pods(server, "c")
        delete(server, "a")
        server.compact(server.store.version)
        state = Watched()
        for event in reported.events:
            evolve(state, event)
        async with watching(server.url, state=state) as again:
            short = await again.until(lambda short: short.count("ResourceSynced") == 2)
            assert short == [
                "ResourceListing", "PodSeen c", "ResourceSynced", "PodGone a", "ResourceSynced"
            ]  # fmt: skip
            assert again.reasons()[0].startswith("too old resource version")


async def test_410_as_an_http_status() -> None:
    gone = b'{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}'

    state = Watched()
    observe.begin_listing(state, NAMESPACES, "test")
    observe.end_listing(state, NAMESPACES, "5", 0.0)
    script = [Answer(gone, status=410), NO_STREAMING_LIST, *recorded(RECORDINGS / "namespaces.jsonl")]
    async with (
        VerbatimServer(script) as server,
        watching(server.url, NAMESPACES, state) as reported,
    ):
        await reported.until_reported("NamespaceGone batch")
        assert reported.reasons()[0] == "too old"
        asked = [one.path for one in server.asked]
        assert "resourceVersion=5" in asked[0]
        assert "sendInitialEvents" in asked[1]
        assert asked[2].startswith("/api/v1/namespaces?limit=")
        assert "continue=" in asked[3]


async def test_any_other_resource_for_third_parties() -> None:
    deployments = lab.Resource("apps", "v1", "deployments", "Deployment", namespaced=True)

    async with ApiServer([deployments]) as server:
        add(server, "web", "api", resource=deployments)
        kind = other_kind("apps", "v1", "deployments")
        async with watching(server.url, kind) as reported:
            await reported.until_reported("ResourceSynced")
        [_, seen, mark] = reported.events
        assert isinstance(seen, ObjectSeen)
        assert isinstance(mark, ResourceSynced)
        assert seen.object["metadata"]["name"] == "api"
        assert mark.resource == "apps/v1/deployments"


async def test_a_resource_that_the_server_does_not_have() -> None:
    async with ApiServer() as server:
        said = await refusal(server, other_kind("apps", "v1", "nopes"))
        assert "has no resource apps/v1/nopes (/apis/apps/v1/nopes)" in said


async def test_slow_publishing_holds_the_watch_back_and_loses_nothing() -> None:
    async with ApiServer() as server:
        api, reported = Api(Target(server=server.url)), Reported()

        async def slowly(events: list[Event]) -> None:
            await asyncio.sleep(0.01)
            await reported.publish(events)

        await api.open()
        task = asyncio.ensure_future(ResourceWatch(api, PODS, Watched(), slowly, QUICK).run())
        await reported.until_reported("ResourceSynced")
        for number in range(3000):
            pods(server, f"p{number}")
            if number % 100 == 0:
                await asyncio.sleep(0)
        await reported.until_reported("PodSeen p2999")
        seen = [event.name for event in reported.events if isinstance(event, PodSeen)]
        assert seen == [f"p{number}" for number in range(3000)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()
