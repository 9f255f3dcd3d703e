"""The watcher against an API server that misbehaves in every way that real ones do."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from romana_bus.errors import Failed
from romana_bus.events import (
    Event,
    Fact,
    NodeSeen,
    ObjectSeen,
    PodSeen,
    ResourceListing,
    ResourceSynced,
)
from romana_bus.kubernetes.api import Api, Target
from romana_bus.lab.kubeapi import resources as lab
from romana_bus.lab.recordings.player import Recording, final, play
from romana_bus.producers.kubernetes import absence, observe
from romana_bus.producers.kubernetes.objects import BUILT_IN, NAMESPACES, PODS, Kind, other_kind
from romana_bus.producers.kubernetes.pages import Limits
from romana_bus.producers.kubernetes.progress import Watched, evolve
from romana_bus.producers.kubernetes.resource_watch import ResourceWatch
from tests.kube_verbatim import Answer, VerbatimServer, every, randomly, recorded
from tests.lab.apiserver import ApiServer
from tests.lab.client import add
from tests.lab.faults import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

RECORDINGS = Path(__file__).parents[3] / "recordings"
QUICK = Limits(
    page=2, timeout=(60, 60), silence=5.0, backoff=(0.01, 0.05), burst=(5.0, 100.0), lists=0.01, look=0.01
)
#: What a server says that has no streaming list.
NO_STREAMING_LIST = Answer(b'{"code":422,"message":"sendInitialEvents is forbidden"}', status=422)


class Reported:
    """What was published, and a way to wait for it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Event()

    async def publish(self, events: list[Event]) -> None:
        self.events += events
        self._more.set()

    async def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        while not condition(self.short()):
            self._more.clear()
            await self._more.wait()
        return self.short()

    async def until_reported(self, last: str) -> list[str]:
        return await self.until(lambda short: last in short)

    def short(self) -> list[str]:
        return [f"{type(event).__name__} {getattr(event, 'name', '')}".strip() for event in self.events]

    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, ResourceListing)]

    def entities(self) -> dict[str, Event]:
        """The newest of each subject."""
        return {event.subject(): event for event in self.events}


@contextlib.asynccontextmanager
async def watching(
    url: str, kind: Kind = PODS, state: Watched | None = None, limits: Limits = QUICK
) -> AsyncIterator[Reported]:
    reported, api = Reported(), Api(Target(server=url))
    await api.open()
    watch = ResourceWatch(api, kind, state or Watched(), reported.publish, limits)
    task = asyncio.ensure_future(watch.run())
    try:
        yield reported
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()


def pods(server: ApiServer, *names: str) -> None:
    add(server, "web", *names)


def delete(server: ApiServer, name: str) -> None:
    raw = server.store.get(lab.PODS, f"web/{name}")
    assert raw is not None
    old = msgspec.json.decode(raw)["metadata"]["resourceVersion"]
    version = server.store.version + 1
    gone = raw.replace(b'"resourceVersion":"%s"' % old.encode(), b'"resourceVersion":"%d"' % version)
    server.apply_recorded("DELETED", lab.PODS, gone)


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


CHUNKINGS = {"1": every(1), "7": every(7), "small": randomly(1), "large": randomly(2, 50_000)}


def living(reported: Reported, resource: lab.Resource) -> set[str]:
    """The keys of the published objects that exist."""
    facts = [
        event for event in reported.entities().values() if isinstance(event, Fact) and not event.tombstone
    ]
    return {resource.key(*fact.key().split("/")) for fact in facts}


#: The pods are a megabyte: in single bytes they would take a minute.
SERVED = [(kind, cut) for kind in BUILT_IN for cut in CHUNKINGS if (kind.name, cut) != ("pods", "1")]


@pytest.mark.parametrize(("kind", "cut"), SERVED, ids=[f"{kind.name} {cut}" for kind, cut in SERVED])
async def test_recordings_served_byte_by_byte(kind: Kind, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the pieces, the log ends with what the real cluster had at the end. A day's deletions come in
    a moment, and nobody can be asked about them."""
    monkeypatch.setattr(absence, "AT_ONCE", 1000)
    resource = next(one for one in lab.BUILT_IN if one.plural == kind.plural)
    ended = set(final(Recording.load(RECORDINGS))[resource])

    script = [NO_STREAMING_LIST, *recorded(RECORDINGS / f"{kind.plural}.jsonl", CHUNKINGS[cut])]
    unasked = QUICK._replace(look=60.0)  # the script has no other answers
    async with VerbatimServer(script) as server, watching(server.url, kind, limits=unasked) as reported:
        await reported.until(lambda _: living(reported, resource) == ended)


async def test_the_whole_recording_played_fast_by_the_small_server() -> None:
    recording = Recording.load(RECORDINGS)
    async with ApiServer() as server, contextlib.AsyncExitStack() as stack:
        playing = asyncio.ensure_future(play(recording, server, speed=100.0))
        await asyncio.sleep(0)  # it is filled
        tellers = {
            kind.plural: await stack.enter_async_context(watching(server.url, kind)) for kind in BUILT_IN
        }
        await playing
        for resource, objects in final(recording).items():
            reported, ended = tellers[resource.plural], set(objects)
            while living(reported, resource) != ended:
                await reported.until(lambda _: True)
                await asyncio.sleep(0.005)
        drained = tellers["nodes"].entities()["kube.node.-.ip-10-3-0-6_ec2_internal"]
        assert isinstance(drained, NodeSeen)
        assert drained.addresses == ("10.3.0.66",)


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
        assert reported.short()[-2:] == ["PodSeen b", "PodSeen c"]


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
        assert reported.short()[-2:] == ["PodSeen b", "PodSeen c"]
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
        pod = reported.events[-1]
        assert isinstance(pod, PodSeen)
        assert pod.node == "n1"


async def refusal(server: ApiServer, kind: Kind = PODS) -> str:
    """With what a watch of `kind` ends before it has begun."""
    api = Api(Target(server=server.url))
    await api.open()
    with pytest.raises(Failed) as caught:
        await ResourceWatch(api, kind, Watched(), Reported().publish, QUICK).run()
    await api.close()
    return str(caught.value)


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
