"""What a client notices of answers whose bytes are cut, squeezed, or do not end."""

from __future__ import annotations

import gzip

import aiohttp
import pytest

from romana_bus.lab.kubeapi.faults import FOREVER, Fault
from romana_bus.lab.kubeapi.server import ApiServer
from tests.conftest import run
from tests.lab.client import add, asking, connection, until

PODS = "/api/v1/pods"
WATCH = f"{PODS}?watch=1"
REQUEST = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("fault", [Fault(cut_after=0.01), Fault(cut_at=100)])
@pytest.mark.parametrize("reset", [False, True])
def test_a_balancer_cuts_one_watch_after_the_other(fault: Fault, reset: bool) -> None:
    async def test() -> None:
        server = ApiServer()
        add(server, "web", "a", "b")
        server.faults.append(
            Fault("watch", times=FOREVER, cut_at=fault.cut_at, cut_after=fault.cut_after, reset=reset)
        )
        async with server:
            for _ in range(3):
                async with connection(server.url) as (reader, writer):
                    writer.write(REQUEST % WATCH.encode())
                    if reset:
                        with pytest.raises(ConnectionResetError):
                            await reader.read()
                    else:
                        answer = await reader.read()
                        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                        assert not answer.endswith(b"\r\n0\r\n\r\n")
                await until(lambda: server.watches() == 0)

    run(test())


def test_only_its_own_answer_is_cut() -> None:
    """The connection lives on, with the next request."""

    async def test() -> None:
        server = ApiServer(bookmark_interval=0.05, lease_interval=0.01)
        server.faults.append(Fault("list", cut_after=1.0))
        async with server, connection(server.url) as (reader, writer):
            writer.write(REQUEST % PODS.encode())
            await reader.readuntil(b"\r\n0\r\n\r\n")
            writer.write(REQUEST % f"{WATCH}&allowWatchBookmarks=true".encode())
            for _ in range(25):
                await reader.readuntil(b"BOOKMARK")

    run(test())


@pytest.mark.parametrize("path", [PODS, WATCH, "/api/v1/namespaces/web/pods/a"])
def test_compressed_without_having_asked(path: str) -> None:
    async def test() -> None:
        server = ApiServer()
        add(server, "web", "a")
        async with asking(server) as client:
            async with client.watch(path) as plain:
                line = await plain.line()
                assert "Content-Encoding" not in plain.response.headers
            server.faults.append(Fault(gzip=True))
            async with client.watch(path) as packed:
                assert packed.response.headers["Content-Encoding"] == "gzip"
                assert await packed.line() == line  # the client has unpacked it
                server.close_watches()
                assert await packed.line() == b""
        server.faults.append(Fault(gzip=True))
        async with (
            server,
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.get(server.url + path) as answer,
        ):
            await until(lambda: server.watches() == ("watch" in path))
            server.close_watches()
            assert gzip.decompress(await answer.read()) == line

    run(test())


def test_a_body_that_comes_byte_by_byte_and_never_ends() -> None:
    async def test() -> None:
        server = ApiServer()
        async with asking(server) as client:
            whole = (await client.ask(PODS)).body
            server.faults.append(Fault("list", drip=0.0001))
            async with client.watch(PODS) as answer:
                for byte in whole + b" " * 50:
                    assert await answer.response.content.readexactly(1) == bytes([byte])
                assert not answer.response.content.at_eof()

    run(test())


def test_a_watch_that_comes_byte_by_byte() -> None:
    async def test() -> None:
        server = ApiServer()
        add(server, "web", "a")
        server.faults.append(Fault("watch", drip=0.0001))
        async with asking(server) as client, client.watch(WATCH) as watch:
            assert await watch.event() == ("ADDED", "a", "2")
            add(server, "web", "b")
            assert await watch.event() == ("ADDED", "b", "3")

    run(test())


@pytest.mark.parametrize("path", [PODS, WATCH])
def test_a_body_and_a_line_without_an_end(path: str) -> None:
    async def test() -> None:
        server = ApiServer()
        add(server, "web", "a")
        start = b'{"metadata":{"name":"'
        server.faults.append(Fault(endless=start))
        async with asking(server) as client:
            async with client.watch(path) as answer:
                content = answer.response.content
                assert await content.readexactly(len(start)) == start
                size = 0
                while size < 20_000_000:
                    chunk = await content.readany()
                    assert not chunk.strip(b"x")
                    size += len(chunk)
            assert (await client.ask(PODS)).names == ["a"]
            await until(lambda: server.watches() == 0)

    run(test())


def test_a_server_stops_while_a_body_does_not_end() -> None:
    async def test() -> None:
        server = ApiServer()
        server.faults += [Fault(endless=b"{"), Fault(drip=0.01)]
        async with asking(server) as client, client.watch(PODS), client.watch(PODS):
            await server.__aexit__()
            await server.__aenter__()

    run(test())


def test_an_answer_byte_for_byte() -> None:
    async def test() -> None:
        server = ApiServer()
        server.faults.append(Fault("list", raw=b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nshort"))
        async with server, connection(server.url) as (reader, writer):
            writer.write(REQUEST % PODS.encode())
            assert await reader.read() == b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nshort"

    run(test())
