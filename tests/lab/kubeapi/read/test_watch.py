"""What a client notices of a watch on the small API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from romana_bus.lab.kubeapi.read import views
from romana_bus.lab.kubeapi.resources import PODS
from romana_bus.lab.kubeapi.store import watch_line
from romana_bus.lab.kubeapi.wire import head
from tests.lab.apiserver import ApiServer
from tests.lab.client import add, asking, connection, until

if TYPE_CHECKING:
    import asyncio

    from tests.lab.client import Watched

WATCH = "/api/v1/pods?watch=1"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


async def names(watch: Watched, count: int) -> list[str]:
    return [(await watch.event())[1] for _ in range(count)]


async def test_a_watch_goes_on_behind_its_version() -> None:
    server = ApiServer()
    add(server, "web", "a", "b")
    async with asking(server) as client, client.watch(f"{WATCH}&resourceVersion=2") as watch:
        assert await watch.event() == ("ADDED", "b", "3")
        add(server, "web", "c")
        assert await watch.event() == ("ADDED", "c", "4")
        await client.ask("/api/v1/namespaces/web/pods/a", "DELETE")
        assert await watch.event() == ("DELETED", "a", "5")


@pytest.mark.parametrize("query", ["", "&resourceVersion=0", "&resourceVersion="])
async def test_a_watch_from_nowhere_begins_with_what_is_there(query: str) -> None:
    server = ApiServer()
    add(server, "web", "b", "a")
    async with asking(server) as client, client.watch(WATCH + query) as watch:
        assert await names(watch, 2) == ["a", "b"]
        add(server, "web", "0")
        assert await watch.event() == ("ADDED", "0", "4")


@pytest.mark.parametrize(
    ("query", "watched"),
    [("watch", True), ("watch=", True), ("watch=yes", True), ("watch=False", False), ("watch=0", False)],
)
async def test_watch_parameter_values(query: str, watched: bool) -> None:
    """The parameter is true where it is present, except for false and 0."""

    server = ApiServer()
    add(server, "web", "a")
    async with asking(server) as client, client.watch(f"/api/v1/pods?{query}") as answer:
        assert (await answer.line()).startswith(b'{"type":"ADDED"') == watched


async def test_a_watch_of_one_namespace_shows_only_that() -> None:
    server = ApiServer()
    add(server, "web", "a")
    add(server, "web-2", "b")
    path = "/api/v1/namespaces/web/pods?watch=true"
    async with (
        asking(server) as client,
        client.watch(path) as watch,
        client.watch(f"{path}&resourceVersion=1") as later,
    ):
        add(server, "web-2", "c")
        add(server, "web", "d")
        assert await names(watch, 2) == ["a", "d"]
        assert await names(later, 2) == ["a", "d"]


async def test_watch_from_a_future_version_waits() -> None:
    server = ApiServer()
    async with asking(server) as client, client.watch(f"{WATCH}&resourceVersion=3") as watch:
        add(server, "web", "a", "b", "c")
        assert await watch.event() == ("ADDED", "c", "4")


async def test_compaction_expires_old_versions_and_keeps_open_watches() -> None:
    server = ApiServer()
    add(server, "web", "a", "b")
    async with asking(server) as client, client.watch(f"{WATCH}&resourceVersion=1") as watch:
        add(server, "web", "c")
        server.compact(4)
        add(server, "web", "d")
        assert await names(watch, 4) == ["a", "b", "c", "d"]
        async with client.watch(f"{WATCH}&resourceVersion=3") as late:
            error = msgspec.json.decode(await late.line())
            assert error["type"] == "ERROR"
            assert error["object"]["message"] == "too old resource version: 3 (4)"
            assert await late.line() == b""
        async with client.watch(f"{WATCH}&resourceVersion=4") as edge:
            assert await names(edge, 1) == ["d"]


async def test_metadata_only() -> None:
    server = ApiServer(bookmark_interval=0.01)
    add(server, "web", "a")
    path = f"{WATCH}&allowWatchBookmarks=true"
    async with asking(server) as client, client.watch(path, PARTIAL) as watch:
        start = b'{"type":"ADDED","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",'
        assert (await watch.line()).startswith(start + b'"metadata":{"name":"a"')
        add(server, "web", "b")
        assert (await watch.line()).startswith(start + b'"metadata":{"name":"b"')
        assert await watch.line() == (
            b'{"type":"BOOKMARK","object":{"kind":"PartialObjectMetadata",'
            b'"apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"3"}}}\n'
        )


async def test_watches_are_closed_and_forgotten() -> None:
    server = ApiServer()
    nodes = "/api/v1/nodes?watch=1"
    async with asking(server) as client, client.watch(nodes) as other, client.watch(WATCH) as watch:
        assert (server.watches(), server.watches("pods")) == (2, 1)
        server.close_watches("pods")
        assert await watch.line() == b""
        await until(lambda: server.watches() == 1)
        other.response.close()  # a client that just goes
        await until(lambda: server.watches() == 0)


async def test_slow_watch_is_closed_and_delays_no_other() -> None:
    server = ApiServer(watch_buffer=20)
    large = b'%s"metadata":{"name":"p","namespace":"web","resourceVersion":"%%d"},"spec":"%s"}' % (
        head(PODS),
        b"x" * 200_000,
    )
    async with (
        asking(server) as client,
        client.watch(WATCH) as fast,
        connection(server.url) as (reader, writer),
    ):
        writer.write(f"GET {WATCH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await until(lambda: server.watches() == 2)
        version = 1
        while server.watches() == 2:  # until the socket is full, and then the buffer
            version += 1
            server.apply_recorded("MODIFIED", PODS, large % version)
            assert (await fast.event())[2] == str(version)
        assert version > 20
        assert not await whole(reader)


async def whole(reader: asyncio.StreamReader) -> bool:
    """Read to the end: whether it was that of a whole answer."""
    try:
        return (await reader.read()).endswith(b"\r\n0\r\n\r\n")
    except ConnectionResetError:
        return False


async def test_lines_are_rendered_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []

    def rendering(kind: str, raw: bytes) -> bytes:
        rendered.append(kind)
        return watch_line(kind, raw)

    monkeypatch.setattr(views, "watch_line", rendering)

    server = ApiServer()
    async with asking(server) as client, client.watch(WATCH) as one, client.watch(WATCH) as other:
        add(server, "web", "a")
        assert await one.line() == await other.line()
        assert rendered == ["ADDED"]
