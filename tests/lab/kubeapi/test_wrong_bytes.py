"""What a client notices of answers whose bytes are cut, or not those of an answer."""

from __future__ import annotations

import pytest

from tests.lab.apiserver import ApiServer
from tests.lab.client import add, connection, until
from tests.lab.faults import FOREVER, Fault

PODS = "/api/v1/pods"
WATCH = f"{PODS}?watch=1"
REQUEST = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("fault", [Fault(cut_after=0.01), Fault(cut_at=100)])
@pytest.mark.parametrize("reset", [False, True])
async def test_a_balancer_cuts_one_watch_after_the_other(fault: Fault, reset: bool) -> None:
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


async def test_only_its_own_answer_is_cut() -> None:
    """The connection lives on, with the next request."""

    server = ApiServer(bookmark_interval=0.05, lease_interval=0.01)
    server.faults.append(Fault("list", cut_after=1.0))
    async with server, connection(server.url) as (reader, writer):
        writer.write(REQUEST % PODS.encode())
        await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.write(REQUEST % f"{WATCH}&allowWatchBookmarks=true".encode())
        for _ in range(25):
            await reader.readuntil(b"BOOKMARK")


async def test_an_answer_byte_for_byte() -> None:
    server = ApiServer()
    server.faults.append(Fault("list", raw=b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nshort"))
    async with server, connection(server.url) as (reader, writer):
        writer.write(REQUEST % PODS.encode())
        assert await reader.read() == b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nshort"
