"""What a client notices of bookmarks, and of the streaming list, whose beginning one of them ends."""

from __future__ import annotations

import time

import msgspec
import pytest

from romana_bus.lab.kubeapi.calls import Call
from romana_bus.lab.kubeapi.read.selectors import ALL
from romana_bus.lab.kubeapi.read.views import Whole
from romana_bus.lab.kubeapi.read.watching import beginning
from romana_bus.lab.kubeapi.resources import NODES, PODS
from romana_bus.lab.kubeapi.wire import bookmark
from tests.lab.apiserver import ApiServer
from tests.lab.client import add, asking

WATCH = "/api/v1/pods?watch=1"
STREAMING = f"{WATCH}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


async def test_a_streaming_list_ends_its_beginning_with_a_bookmark() -> None:
    server = ApiServer()
    add(server, "web", "a")
    async with asking(server) as client, client.watch(STREAMING) as watch:
        assert await watch.event() == ("ADDED", "a", "2")
        assert await watch.line() == bookmark(PODS, 2, initial_end=True)
        add(server, "web", "b")
        assert await watch.event() == ("ADDED", "b", "3")


async def test_streaming_list_at_a_future_version_is_refused() -> None:
    async with asking(ApiServer()) as client, client.watch(f"{STREAMING}&resourceVersion=9") as watch:
        error = msgspec.json.decode(await watch.line())
        assert (error["type"], error["object"]["code"]) == ("ERROR", 504)
        assert await watch.line() == b""


async def test_old_server_refuses_streaming_lists() -> None:
    async with asking(ApiServer(streaming_list=False)) as client:
        answer = await client.ask(STREAMING)
        assert (answer.status, answer.json["reason"]) == (422, "Invalid")
        why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
        whole = f'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: {why}'
        assert answer.message == whole
        assert answer.json["details"] == {
            "group": "meta.k8s.io",
            "kind": "ListOptions",
            "causes": [
                {
                    "reason": "FieldValueForbidden",
                    "message": f"Forbidden: {why}",
                    "field": "sendInitialEvents",
                }
            ],
        }


async def test_bookmarks_come_regularly_to_those_who_want_them() -> None:
    server = ApiServer(bookmark_interval=0.01)
    path = f"{WATCH}&resourceVersion=1"
    async with (
        asking(server) as client,
        client.watch(f"{path}&allowWatchBookmarks=true") as watch,
        client.watch(path) as without,
    ):
        server.store.advance(5)  # written elsewhere: this is what bookmarks are for
        assert await watch.lines(2) == [bookmark(PODS, 5)] * 2
        add(server, "web", "a")
        line = await watch.line()
        while line == bookmark(PODS, 5):
            line = await watch.line()
        assert b"ADDED" in line
        assert await watch.line() == bookmark(PODS, 6)
        assert b"ADDED" in await without.line()
        server.close_watches()
        assert await without.line() == b""


async def test_a_watch_gets_no_bookmark_of_the_version_that_it_began_with() -> None:
    server = ApiServer(bookmark_interval=0.01)
    server.store.advance(5)
    path = f"{WATCH}&allowWatchBookmarks=true&resourceVersion="
    async with (
        asking(server) as client,
        client.watch(f"{path}5") as new,
        client.watch(f"{path}4") as old,
    ):
        assert await old.lines(3) == [bookmark(PODS, 5)] * 3
        add(server, "web", "a")
        assert await new.event() == ("ADDED", "a", "6")
        assert await new.line() == bookmark(PODS, 6)


async def test_a_watch_gets_no_bookmark_of_the_version_that_its_backlog_led_to() -> None:
    server = ApiServer(bookmark_interval=0.01)
    add(server, "web", "a", "b")
    bookmarks = "watch=1&allowWatchBookmarks=true"
    async with (
        asking(server) as client,
        client.watch(f"{WATCH}&{bookmarks}&resourceVersion=1") as watch,
        client.watch(f"/api/v1/nodes?{bookmarks}&resourceVersion=1") as nodes,
    ):
        assert [await watch.event(), await watch.event()] == [("ADDED", "a", "2"), ("ADDED", "b", "3")]
        assert await nodes.lines(3) == [bookmark(NODES, 3)] * 3
        add(server, "web", "c")
        assert await watch.event() == ("ADDED", "c", "4")
        assert await watch.line() == bookmark(PODS, 4)


def test_the_end_of_the_initial_events_has_their_version() -> None:
    """What is written while they are sent is news, and comes behind."""
    server = ApiServer()
    add(server, "web", "a")
    query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true"}
    begin = beginning(server.store, Call("watch", PODS, query=query), Whole(PODS), ALL)
    add(server, "web", "b")
    added, end = begin.lines
    assert b"ADDED" in added
    assert end == bookmark(PODS, 2, initial_end=True)
    assert begin.version == 2


async def test_bookmarks_come_before_the_end_and_then_it_is_the_end() -> None:
    server = ApiServer()  # a bookmark a minute, were it not for the end
    path = f"{WATCH}&resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=2"
    async with asking(server) as client, client.watch(path) as watch:
        began = time.monotonic()
        add(server, "web", "a")
        assert await watch.event() == ("ADDED", "a", "2")
        assert await watch.line() == bookmark(PODS, 2)
        while await watch.line():
            pass
        assert time.monotonic() - began == pytest.approx(2, abs=0.5)
        assert server.watches() == 0
