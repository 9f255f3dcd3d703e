"""The watcher against API servers, and what stands before them, that have their own ways."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.errors import Failed
from romana_bus.events import PodSeen
from romana_bus.kubernetes.api import Api, Target
from romana_bus.lab.kubeapi import resources as lab
from romana_bus.producers.kubernetes.objects import BUILT_IN, PODS, Kind, other_kind
from romana_bus.producers.kubernetes.pages import Limits, Pages
from romana_bus.producers.kubernetes.progress import Watched
from romana_bus.producers.kubernetes.watcher import refuse_unwatchable
from tests.kube_verbatim import Answer, VerbatimServer
from tests.lab.apiserver import ApiServer
from tests.lab.client import add
from tests.lab.faults import FOREVER, STREAMING_OPTIONS, Fault, everything
from tests.producers.kubernetes.site import OfWholeList, names, standing
from tests.producers.kubernetes.watching import NO_STREAMING_LIST, QUICK, delete, pods, watching

if TYPE_CHECKING:
    from tests.producers.kubernetes.site import Stores

WIDGETS = lab.Resource("example.org", "v1", "widgets", "Widget", namespaced=True)
KINDS = [*BUILT_IN, other_kind("example.org", "v1", "widgets")]
#: Where anything that waits is noticed: a test that is over has waited for nothing.
NEVER_AGAIN = (1000.0, 1000.0)


def resource_of(kind: Kind) -> lab.Resource:
    return next(one for one in (*lab.BUILT_IN, WIDGETS) if one.plural == kind.plural)


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming list", "pages"])
@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
async def test_each_resource_recovers_from_an_expired_version(kind: Kind, streaming: bool) -> None:
    """As after a restart of a real API server: 200, and an ERROR event with a Status 410."""
    resource = resource_of(kind)
    namespace = "web" if resource.namespaced else ""

    async with ApiServer([*lab.BUILT_IN, WIDGETS], streaming_list=streaming) as server:
        add(server, namespace, "a", resource=resource)
        async with watching(server.url, kind) as reported:
            await reported.until_reported("ResourceSynced")
            server.faults.append(Fault("watch", kind.plural, below=1 << 60, expired=True))
            server.close_watches(kind.plural)
            add(server, namespace, "b", resource=resource)
            await reported.until(lambda short: "Seen b" in " ".join(short))
            add(server, namespace, "c", resource=resource)
            await reported.until(lambda short: "Seen c" in " ".join(short))
            assert reported.reasons()[1].startswith("too old resource version")


# --- connections ----------------------------------------------------------------------------------------


async def test_a_watch_that_did_its_work_before_it_was_cut_is_made_again_at_once() -> None:
    """A balancer that cuts all connections now and then: each was a good one."""
    limits = QUICK._replace(backoff=NEVER_AGAIN)
    async with ApiServer() as server, watching(server.url, limits=limits) as reported:
        await reported.until_reported("ResourceSynced")
        server.faults.append(Fault("watch", "pods", FOREVER, cut_after=0.1, reset=True))
        server.close_watches()
        for number in range(12):
            pods(server, f"p{number}")
            await reported.until_reported(f"PodSeen p{number}")
            connections = server.requests["watch", "pods"]
            while server.requests["watch", "pods"] == connections:
                await asyncio.sleep(0.005)
        assert reported.reasons() == ["first listing"]


async def test_burst_of_ended_watches_causes_no_backoff() -> None:
    limits = QUICK._replace(backoff=NEVER_AGAIN, burst=(5.0, 0.001))
    async with ApiServer() as server, watching(server.url, limits=limits) as reported:
        await reported.until_reported("ResourceSynced")
        for _ in range(3):
            connections = server.requests["watch", "pods"]
            server.close_watches()
            while server.requests["watch", "pods"] == connections or not server.watches("pods"):
                await asyncio.sleep(0.005)
        pods(server, "a")
        await reported.until_reported("PodSeen a")


# --- lists ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault("watch", times=FOREVER, ignored=STREAMING_OPTIONS),
        Fault("watch", times=FOREVER, ignored=STREAMING_OPTIONS, without=everything),
        Fault(times=FOREVER, code=400, streaming=True),
        Fault(times=FOREVER, code=422, streaming=True),
    ],
    ids=["ignores the options", "starts now", "400", "422"],
)
async def test_streaming_list_is_tried_once(fault: Fault) -> None:
    async with ApiServer() as server:
        pods(server, "a", "b", "c")
        server.faults.append(fault)
        streaming = Fault(times=0, streaming=True)
        asked = 0
        limits = QUICK._replace(initial=0.2)
        meets = type(fault).meets

        def counted(call: Any) -> bool:
            nonlocal asked
            asked += streaming.meets(call)
            return meets(fault, call)

        fault.meets = counted  # type: ignore[method-assign]
        async with watching(server.url, limits=limits) as reported:
            await reported.until_reported("ResourceSynced")
            assert {"PodSeen a", "PodSeen b", "PodSeen c"} <= set(reported.short())
            server.faults.insert(0, Fault("watch", "pods", below=1 << 60, expired=True))
            server.close_watches()
            delete(server, "b")
            await reported.until_reported("PodGone b")
        assert asked == 1


@pytest.mark.parametrize("version", ["", "abc"])
async def test_a_list_without_a_version_that_is_a_number_is_made_once_a_second_at_most(version: str) -> None:
    async with ApiServer() as server:
        pods(server, "a")
        server.faults.append(Fault(plural="pods", times=FOREVER, version=version))
        limits = QUICK._replace(lists=1000.0)
        async with watching(server.url, limits=limits) as reported:
            await reported.until_reported("PodSeen a")
            for number in range(20):
                pods(server, f"p{number}")
                await asyncio.sleep(0.01)
            lists = reported.short().count("ResourceListing")
        assert lists == 1, "whatever its reason is"
        assert Limits().lists == 1.0


@pytest.mark.parametrize("stores", ["memory"], indirect=True)
@pytest.mark.parametrize("version", ["", "abc"])
@pytest.mark.parametrize("streaming", [True, False], ids=["streaming list", "pages"])
async def test_pods_of_such_a_server_have_addresses_too(
    stores: Stores, version: str, streaming: bool
) -> None:
    async with standing(stores, pods=3, streaming_list=streaming) as site:
        site.server.faults.append(OfWholeList(times=FOREVER, version=version))
        site.expire()
        for name in ("a", "b"):
            site.pods(name)
            await site.until_addressed({*names(3), *("a" if name == "a" else "ab")})
        assert await site.gone() == []


async def test_delayed_lists_are_not_sent_together() -> None:
    """A second look beside a list of all: each has a time of its own."""
    clock = asyncio.get_running_loop().time
    pages = Pages(None, PODS, Watched(), QUICK._replace(lists=0.05), None)  # type: ignore[arg-type]
    at: list[float] = []

    async def list_all() -> None:
        await pages.may_list()
        at.append(clock())

    await asyncio.gather(*(list_all() for _ in range(4)))
    assert all(later - earlier >= 0.04 for earlier, later in pairwise(at)), at


@pytest.mark.parametrize("token", ["", None])
async def test_a_continue_token_that_is_empty_ends_the_list(token: str | None) -> None:
    meta = '"resourceVersion":"7"' + (',"continue":""' if token == "" else "")
    page = b'{"kind":"PodList","metadata":{%s},"items":[{"metadata":{"name":"a","namespace":"web",' % (
        meta.encode()
    )
    page += b'"uid":"u","resourceVersion":"5"}}]}'

    script = [NO_STREAMING_LIST, Answer(page), Answer(then="hang")]
    async with VerbatimServer(script) as server, watching(server.url) as reported:
        assert await reported.until_reported("ResourceSynced") == [
            "ResourceListing", "PodSeen a", "ResourceSynced"
        ]  # fmt: skip
        while len(server.asked) < 3:
            await asyncio.sleep(0.005)
        assert "resourceVersion=7" in server.asked[2].path


async def test_endless_pages_are_given_up_and_remove_nothing() -> None:
    async with ApiServer(streaming_list=False) as server:
        pods(server, "a", "b", "c", "d")
        async with watching(server.url) as reported:
            await reported.until_reported("ResourceSynced")
            server.faults += [
                Fault("watch", "pods", below=1 << 60, expired=True),
                Fault("list", "pods", times=6, same_page=True),
            ]
            server.close_watches()
            await reported.until(lambda short: short.count("ResourceSynced") > 1)
            assert not [one for one in reported.short() if one.startswith("PodGone")]


# --- objects --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stores", ["memory", "nats"], indirect=True)
@pytest.mark.parametrize("large", ["labels", "annotations"])
async def test_a_pod_of_more_than_a_message_takes_gets_an_address(stores: Stores, large: str) -> None:
    """As its labels, and as annotations, which are no fields of ours."""
    async with standing(stores, pods=1) as site:
        values = ",".join(f'"example.org/{number:05}":"{"v" * 60}"' for number in range(15_000))
        version = site.server.store.version + 1
        raw = (
            f'{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"big","namespace":"web","uid":"u",'
            f'"resourceVersion":"{version}","{large}":{{{values}}}}},"spec":{{"nodeName":"n1"}}}}'
        )
        site.server.apply_recorded("ADDED", lab.PODS, raw.encode())
        await site.until_addressed({"p00", "big"})
        (seen,) = [e for e in await site.published() if isinstance(e, PodSeen) and e.name == "big"]
        assert len(seen.labels) < 15_000


async def test_duplicate_json_key_is_refused() -> None:
    """The watch begins anew, and the list has the truth."""
    twice = (
        b'{"type":"DELETED","object":{"kind":"Pod","metadata":{"name":"a","namespace":"web",'
        b'"resourceVersion":"50"}},"type":"ADDED"}\n'
    )

    async with ApiServer() as server:
        pods(server, "a")
        async with watching(server.url) as reported:
            await reported.until_reported("ResourceSynced")
            for _ in range(3):
                connections = server.requests["watch", "pods"]
                server.send_line(twice, "pods")
                while server.requests["watch", "pods"] == connections or not server.watches("pods"):
                    await asyncio.sleep(0.005)
            pods(server, "b")
            await reported.until_reported("PodSeen b")
        assert "PodGone a" not in reported.short()


async def test_a_resource_that_can_only_be_listed_is_refused_at_the_start() -> None:
    served = (
        b'{"kind":"APIResourceList","groupVersion":"v1","resources":['
        b'{"name":"componentstatuses","singularName":"","namespaced":false,"kind":"ComponentStatus",'
        b'"verbs":["get","list"]},'
        b'{"name":"services","singularName":"","namespaced":true,"kind":"Service","verbs":["list","watch"]}]}'
    )

    async with VerbatimServer([Answer(served)] * 2) as server:
        api = Api(Target(server=server.url))
        await api.open()
        await refuse_unwatchable(api, [other_kind("", "v1", "services")])
        with pytest.raises(Failed) as caught:
            await refuse_unwatchable(api, [other_kind("", "v1", "componentstatuses")])
        await api.close()
    assert str(caught.value) == (
        "--resource core/v1/componentstatuses: core/v1/componentstatuses cannot be watched: the API "
        "server only offers get, list for it"
    )
