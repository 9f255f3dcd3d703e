"""Faults of the small API server as a client sees them."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from romana_bus.lab.kubeapi import resources
from romana_bus.lab.kubeapi.store import watch_line
from tests.lab.apiserver import ApiServer
from tests.lab.client import add, asking, until
from tests.lab.faults import Fault

PODS = "/api/v1/pods"
WATCH = f"{PODS}?watch=1"


@pytest.mark.parametrize(
    ("code", "reason"),
    [(429, "TooManyRequests"), (500, "InternalError"), (503, "ServiceUnavailable"), (504, "Timeout")],
)
async def test_an_answer_of_a_server_in_trouble(code: int, reason: str) -> None:
    server = ApiServer()
    async with asking(server) as client:
        server.faults.append(Fault(code=code, retry_after=7))
        answer = await client.ask(PODS)
        assert (answer.status, answer.json["reason"], answer.json["code"]) == (code, reason, code)
        assert answer.headers["Retry-After"] == "7"
        assert answer.json["details"] == {"retryAfterSeconds": 7}
        assert (await client.ask(PODS)).status == 200


async def test_faults_apply_to_matching_requests_in_order() -> None:
    server = ApiServer()
    server.faults += [
        Fault("list", "nodes", times=2, code=500),
        Fault("watch", code=503),
        Fault(plural="nodes", code=429),
    ]
    async with asking(server) as client:
        assert (await client.ask(PODS)).status == 200
        assert [(await client.ask("/api/v1/nodes")).status for _ in range(4)] == [500, 500, 429, 200]
        assert (await client.ask(WATCH)).status == 503
        assert server.faults == []


@pytest.mark.parametrize("path", [PODS, WATCH])
async def test_headers_and_then_nothing(path: str) -> None:
    server = ApiServer()
    add(server, "web", "a")
    async with asking(server) as client:
        server.faults.append(Fault(silent=True))
        async with client.watch(path) as answer:
            waiting = asyncio.create_task(answer.line())
            assert (await client.ask(PODS)).names == ["a"]  # others are served
            assert not waiting.done()
            waiting.cancel()


async def test_a_silent_server_still_stops() -> None:
    server = ApiServer()
    server.faults.append(Fault(silent=True))
    async with asyncio.timeout(5), asking(server) as client, client.watch(PODS) as answer:
        await server.__aexit__()
        assert await answer.line() == b""
        await server.__aenter__()


async def test_a_list_is_cut_in_the_middle() -> None:
    server = ApiServer()
    add(server, "web", "a")
    async with asking(server) as client:
        server.faults.append(Fault("list", "pods", cut_at=20))
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.ask(PODS)
        assert (await client.ask(PODS)).status == 200


async def test_a_watch_is_cut_in_the_middle_of_a_line() -> None:
    server = ApiServer()
    add(server, "web", "a", "b")
    async with asking(server) as client:
        first, second = (watch_line(one.type, one.raw) for one in server.store.changes(resources.PODS, 1))
        server.faults.append(Fault("watch", cut_at=len(first) + 10))
        async with client.watch(WATCH) as watch:
            assert await watch.line() == first
            with pytest.raises(aiohttp.ClientPayloadError):
                assert await watch.line() == second[:10]
        await until(lambda: server.watches() == 0)


async def test_raw_lines_in_a_watch() -> None:
    server = ApiServer()
    add(server, "web", "a")
    async with asking(server) as client:
        server.faults.append(Fault("watch", line=b'{"type":"ADDED","obj\n'))
        async with client.watch(WATCH) as watch:
            assert (await watch.event())[1] == "a"
            assert await watch.line() == b'{"type":"ADDED","obj\n'
            server.send_line(b"not at all\n", "nodes")
            server.send_line(b"\xff\n", "pods")
            assert await watch.line() == b"\xff\n"
