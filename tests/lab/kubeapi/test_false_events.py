"""Watches with false events, and a store restored from a backup, as a client sees them."""

from __future__ import annotations

import msgspec
import pytest

from romana_bus.lab.kubeapi.resources import NODES, PODS
from romana_bus.lab.kubeapi.wire import bookmark, identity
from tests.lab.apiserver import ApiServer
from tests.lab.client import Client, add, asking, until
from tests.lab.faults import FOREVER, Fault, false_change

PATH = "/api/v1/pods"
WATCH = f"{PATH}?watch=1"
STREAMING = f"{WATCH}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


async def test_a_deletion_of_what_is_still_there() -> None:
    server = ApiServer()
    add(server, "web", "a", "b")
    async with asking(server) as client, client.watch(f"{WATCH}&resourceVersion=3") as watch:
        server.send_event(PODS, false_change(server.store, PODS, "web/a"))
        server.send_event(PODS, false_change(server.store, PODS, "web/b", version=3))
        server.send_event(PODS, false_change(server.store, PODS, "web/b", version=99))
        assert [await watch.event() for _ in range(3)] == [
            ("DELETED", "a", "4"),
            ("DELETED", "b", "3"),
            ("DELETED", "b", "99"),
        ]
        listed = await client.ask(PATH)
        assert (listed.names, listed.json["metadata"]["resourceVersion"]) == (["a", "b"], "4")
        add(server, "web", "c")
        assert await watch.event() == ("ADDED", "c", "5")


async def test_versions_that_go_backwards_and_events_that_are_repeated() -> None:
    server = ApiServer()
    add(server, "web", "a", "b")
    async with asking(server) as client, client.watch(WATCH) as watch:
        first, _ = await watch.lines(2)
        server.send_line(first, "pods")
        assert await watch.line() == first
        server.send_event(PODS, false_change(server.store, PODS, "web/b", "MODIFIED", 1))
        assert await watch.event() == ("MODIFIED", "b", "1")
        server.send_line(bookmark(PODS, 1), "pods")
        assert await watch.event() == ("BOOKMARK", "", "1")
        add(server, "web", "c")
        assert await watch.event() == ("ADDED", "c", "4")


async def test_false_event_is_rendered_for_each_watch() -> None:
    server = ApiServer()
    add(server, "web", "a")
    add(server, "db", "b")
    async with (
        asking(server) as client,
        client.watch("/api/v1/nodes?watch=1") as nodes,
        client.watch("/api/v1/namespaces/db/pods?watch=1&resourceVersion=3") as namespaced,
        client.watch(f"{WATCH}&resourceVersion=3&fieldSelector=metadata.name%3Db") as selected,
        client.watch(f"{WATCH}&resourceVersion=3", PARTIAL) as partial,
    ):
        for key in ("web/a", "db/b"):
            server.send_event(PODS, false_change(server.store, PODS, key))
        add(server, "", "n", resource=NODES)
        assert await namespaced.event() == ("DELETED", "b", "5")
        assert await selected.event() == ("DELETED", "b", "5")
        assert b"PartialObjectMetadata" in await partial.line()
        assert (await nodes.event())[1] == "n"


def test_false_change_needs_an_existing_object() -> None:
    server = ApiServer()
    with pytest.raises(KeyError):
        false_change(server.store, PODS, "web/a")


EXPIRED = (
    b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
    b'"message":"too old resource version: %d (%d)","reason":"Expired","code":410}}\n'
)


async def first_line(client: Client, path: str) -> bytes:
    async with client.watch(path) as watch:
        return await watch.line()


async def test_the_next_watch_is_of_an_expired_version() -> None:
    server = ApiServer()
    add(server, "web", "a")
    server.faults += [Fault("watch", "pods", 2, expired=True)]
    async with asking(server) as client:
        async with client.watch(f"{WATCH}&resourceVersion=1") as watch:
            assert await watch.line() == EXPIRED % (1, 2)
            assert await watch.line() == b""
        assert (await first_line(client, STREAMING)).startswith(b'{"type":"ERROR"')
        assert b"ADDED" in await first_line(client, f"{WATCH}&resourceVersion=1")
        await until(lambda: server.watches() == 0)


async def test_watches_from_below_a_version_are_expired_for_ever() -> None:
    server = ApiServer()
    add(server, "web", "a", "b", "c")
    server.faults.append(Fault("watch", "pods", FOREVER, expired=True, below=3))
    async with asking(server) as client:
        for _ in range(3):
            assert await first_line(client, f"{WATCH}&resourceVersion=2") == EXPIRED % (2, 3)
            for path in (WATCH, STREAMING, f"{WATCH}&resourceVersion=0", f"{WATCH}&resourceVersion=3"):
                assert b"ADDED" in await first_line(client, path)
        assert (await client.ask(f"{WATCH}&resourceVersion=nonsense")).status == 400


async def test_a_restored_store() -> None:
    server = ApiServer(bookmark_interval=0.01)
    add(server, "web", "a", "b")
    snapshot = server.snapshot()
    bookmarks = f"{WATCH}&allowWatchBookmarks=true"
    others = bookmarks.replace("pods", "nodes")
    async with asking(server) as client, client.watch(f"{bookmarks}&resourceVersion=3") as watch:
        add(server, "web", "c", "d")
        assert [await watch.event(), await watch.event()] == [("ADDED", "c", "4"), ("ADDED", "d", "5")]
        lost = server.store.get(PODS, "web/c")
        server.restore(snapshot)

        listed = await client.ask(PATH)
        assert (listed.names, listed.json["metadata"]["resourceVersion"]) == (["a", "b"], "3")
        assert (await client.ask(f"{PATH}?resourceVersion=5")).status == 504  # as of any version to come
        async with client.watch(f"{bookmarks}&resourceVersion=5") as future:
            add(server, "web", "e")
            again = server.store.get(PODS, "web/e")
            assert lost is not None
            assert again is not None
            assert identity(lost).uid == identity(again).uid
            assert identity(lost).resource_version == identity(again).resource_version == "4"
            add(server, "web", "f")
            async with client.watch(f"{bookmarks}&resourceVersion=3") as present:
                assert [(await present.event())[1] for _ in range(2)] == ["e", "f"]
            async with client.watch(f"{others}&resourceVersion=3") as nodes:
                assert await nodes.lines(3) == [bookmark(NODES, 5)] * 3  # meanwhile the others are silent
            add(server, "web", "g")
            for other in (watch, future):
                line = await other.line()
                while line == bookmark(PODS, 5):  # what it had got before
                    line = await other.line()
                assert msgspec.json.decode(line)["object"]["metadata"]["name"] == "g"
