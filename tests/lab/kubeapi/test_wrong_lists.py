"""What a client notices of lists and streaming lists that are answered 200 and are wrong."""

from __future__ import annotations

import msgspec
import pytest

from romana_bus.lab.kubeapi import resources
from romana_bus.lab.kubeapi.wire import bookmark
from tests.lab.apiserver import ApiServer
from tests.lab.client import Client, add, asking
from tests.lab.faults import (
    FOREVER,
    STREAMING_OPTIONS,
    Fault,
    Omission,
    every_second,
    everything,
    only,
)

PODS = "/api/v1/pods"
WATCH = f"{PODS}?watch=1"
STREAMING = f"{WATCH}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


def four_pods() -> ApiServer:
    server = ApiServer()
    add(server, "web", "a", "b", "c", "d")
    return server


async def names_of_streaming_list(client: Client, path: str = STREAMING) -> list[str]:
    """Up to the bookmark that ends it."""
    names: list[str] = []
    async with client.watch(path) as watch:
        while (event := await watch.event())[0] != "BOOKMARK":
            names.append(event[1])
    return names


OMISSIONS = [(everything, []), (every_second, ["a", "c"]), (only("web/c", "web/x"), ["a", "b", "d"])]


@pytest.mark.parametrize(("without", "left"), OMISSIONS)
async def test_objects_are_left_out_of_so_many_answers(without: Omission, left: list[str]) -> None:
    server = four_pods()
    async with asking(server) as client:
        server.faults.append(Fault(plural="pods", times=3, without=without))
        listed = await client.ask(PODS)
        assert (listed.status, listed.names, listed.json["metadata"]) == (
            200,
            left,
            {"resourceVersion": "5"},
        )
        assert await names_of_streaming_list(client) == left
        assert (await client.ask("/api/v1/namespaces/web/pods")).names == left
        assert (await client.ask(PODS)).names == ["a", "b", "c", "d"]
        assert await names_of_streaming_list(client) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("without", "left"), OMISSIONS)
async def test_objects_are_left_out_of_every_page(without: Omission, left: list[str]) -> None:
    server = four_pods()
    server.faults.append(Fault("list", times=FOREVER, without=without))
    async with asking(server) as client:
        page = await client.ask(f"{PODS}?limit=1")
        names = page.names
        while token := page.json["metadata"].get("continue"):
            page = await client.ask(f"{PODS}?limit=1&continue={token}")
            names += page.names
        assert names == left


async def test_objects_are_left_out_of_one_page_only() -> None:
    server = four_pods()
    async with asking(server) as client:
        token = (await client.ask(f"{PODS}?limit=2")).json["metadata"]["continue"]
        server.faults.append(Fault("list", without=everything))
        assert (await client.ask(f"{PODS}?limit=2&continue={token}")).names == []
        assert (await client.ask(f"{PODS}?limit=2&continue={token}")).names == ["c", "d"]


async def test_omitted_object_appears_in_the_watch_when_it_changes() -> None:
    server = four_pods()
    server.faults.append(Fault("watch", without=everything))
    async with asking(server) as client, client.watch(WATCH) as watch:
        await client.ask("/api/v1/namespaces/web/pods/b", "DELETE")
        assert await watch.event() == ("DELETED", "b", "6")


@pytest.mark.parametrize("version", ["", "abc"])
async def test_a_list_without_a_numeric_version(version: str) -> None:
    server = four_pods()
    server.faults.append(Fault(times=3, version=version))
    async with asking(server) as client:
        assert (await client.ask(PODS)).json["metadata"] == {"resourceVersion": version}
        page = (await client.ask(f"{PODS}?limit=1")).json["metadata"]
        assert (page["resourceVersion"], page["remainingItemCount"]) == (version, 3)
        async with client.watch(STREAMING) as watch:
            assert [(await watch.event())[2] for _ in range(5)] == ["2", "3", "4", "5", version]
        assert (await client.ask(f"{PODS}?limit=1&continue={page['continue']}")).names == ["b"]


@pytest.mark.parametrize("limit", ["", "limit=1&"])
async def test_pages_that_never_end(limit: str) -> None:
    server = four_pods()
    server.faults.append(Fault("list", times=FOREVER, same_page=True))
    async with asking(server) as client:
        first = await client.ask(f"{PODS}?{limit}")
        assert first.names == (["a"] if limit else ["a", "b", "c", "d"])
        page = first
        for _ in range(5):
            token = page.json["metadata"]["continue"]
            page = await client.ask(f"{PODS}?{limit}continue={token}")
            assert page.body == first.body


@pytest.mark.parametrize(
    "item", [b"17", b'{"kind":"Status"}', b'{"metadata":{"name":"%s"}}' % (b"n" * 100_000)]
)
@pytest.mark.parametrize("there", [False, True])
async def test_items_that_are_no_objects_of_the_kind(item: bytes, there: bool) -> None:
    server = four_pods() if there else ApiServer()
    server.faults.append(Fault(times=2, items=(item, b"17")))
    async with asking(server) as client:
        items = (await client.ask(PODS)).json["items"]
        assert items[4 * there :] == [msgspec.json.decode(item), 17]
        async with client.watch(STREAMING) as watch:
            *_, wrong, _ = await watch.lines(4 * there + 2)
            assert msgspec.json.decode(wrong) == {"type": "ADDED", "object": msgspec.json.decode(item)}
            assert await watch.line() == bookmark(resources.PODS, server.store.version, initial_end=True)


async def test_a_server_that_does_not_know_streaming_lists_starts_an_ordinary_watch() -> None:
    server = four_pods()
    server.faults.append(Fault("watch", times=FOREVER, ignored=STREAMING_OPTIONS))
    async with asking(server) as client:
        async with client.watch(f"{STREAMING}&resourceVersion=5") as watch:
            add(server, "web", "e")
            assert await watch.event() == ("ADDED", "e", "6")
        async with client.watch(STREAMING) as watch:
            assert [(await watch.event())[1] for _ in range(5)] == ["a", "b", "c", "d", "e"]
            add(server, "web", "f")
            assert await watch.event() == ("ADDED", "f", "7")  # no bookmark in between


async def test_a_server_that_does_not_know_streaming_lists_starts_now() -> None:
    server = four_pods()
    server.faults.append(Fault("watch", times=FOREVER, ignored=STREAMING_OPTIONS, without=everything))
    async with asking(server) as client:
        for number in range(2):
            async with client.watch(STREAMING) as watch:
                add(server, "web", f"e{number}")
                assert (await watch.event())[1] == f"e{number}"


@pytest.mark.parametrize("code", [400, 422])
async def test_a_server_that_refuses_streaming_lists_for_ever(code: int) -> None:
    server = four_pods()
    server.faults.append(Fault(times=FOREVER, code=code, streaming=True))
    async with asking(server) as client:
        for _ in range(3):
            assert (await client.ask(STREAMING)).status == code
        async with client.watch(WATCH) as watch:
            assert await watch.event() == ("ADDED", "a", "2")
