"""The verbatim server sends given bytes in given chunks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import run
from tests.kube_verbatim import Answer, Chunking, VerbatimServer, every, randomly, recorded, whole
from tests.lab.client import Client

NAMESPACES = Path(__file__).parents[3] / "recordings" / "namespaces.jsonl"


@pytest.mark.parametrize("chunking", [whole, every(1), every(7), randomly(1)])
def test_the_bytes_are_the_same_however_they_are_divided(
    chunking: Chunking,
) -> None:
    script, plain = recorded(NAMESPACES, chunking), recorded(NAMESPACES)

    async def test() -> None:
        async with VerbatimServer(script) as server, Client(server.url) as client:
            for expected in plain[:-1]:
                assert (await client.ask("/any")).body == expected.body

    run(test())
    first, _, watch, last = plain
    assert first.body.startswith(b'{"kind":"NamespaceList"')
    assert len(watch.body.splitlines()) == 9
    assert (last.body, last.then) == (b"", "hang")


def test_chunks_are_what_was_asked_for() -> None:
    body = bytes(range(256)) * 40
    for chunking in (whole, every(1), every(7), randomly(2, 30)):
        chunks = list(chunking(body))
        assert b"".join(chunks) == body
        assert all(chunks)
    assert {len(chunk) for chunk in every(7)(body)} == {7, len(body) % 7}
    assert list(randomly(3)(body)) == list(randomly(3)(body))
    assert list(Answer(b"abc", chunking=every(2)).pieces())[1:] == [
        b"2\r\nab\r\n",
        b"1\r\nc\r\n",
        b"0\r\n\r\n",
    ]


async def test_any_answer_is_given_in_its_turn_and_the_requests_are_kept() -> None:
    refused = Answer(b"no", 401, {"X-Why": "because"}, chunking=None)
    async with VerbatimServer([refused, Answer(b"yes")]) as server, Client(server.url) as client:
        first = await client.ask("/a?b=c", "POST", {"d": 1})
        assert (first.status, first.headers["X-Why"], first.body) == (401, "because", b"no")
        assert (await client.ask("/e")).body == b"yes"
        one, two = await server.until_asked(2)
        assert (one.method, one.path, one.body) == ("POST", "/a?b=c", b'{"d":1}')
        assert (two.method, two.path, two.headers["accept"]) == ("GET", "/e", "*/*")


@pytest.mark.parametrize("chunking", [whole, None])
async def test_a_cut_is_no_end(chunking: Chunking | None) -> None:
    script = [Answer(b"half", chunking=chunking, then="cut")]
    async with VerbatimServer(script) as server, Client(server.url) as client:
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.ask("/")


async def test_server_hangs_when_configured_and_after_its_last_answer() -> None:
    script = [Answer(b"line\nhalf", then="hang")]
    async with (
        VerbatimServer(script) as server,
        Client(server.url) as client,
        client.watch("/") as watch,
    ):
        assert await watch.line() == b"line\n"
        rest = asyncio.create_task(watch.line())
        other = asyncio.create_task(client.ask("/"))
        await server.until_asked(2)
        assert not rest.done()
        assert not other.done()
        rest.cancel()
        other.cancel()
