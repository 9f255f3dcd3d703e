"""What a client of the small API server notices when it lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.lab.kubeapi.read.continuation import continue_token
from tests.lab.apiserver import ApiServer
from tests.lab.client import Client, add, asking

if TYPE_CHECKING:
    from tests.lab.client import Answer

PODS_PATH = "/api/v1/pods"
WEB_PODS = "/api/v1/namespaces/web/pods"


async def pages(client: Client, path: str, limit: int, token: str = "") -> list[Answer]:
    """Page by page to the end."""
    found: list[Answer] = []
    while token or not found:
        answer = await client.ask(f"{path}?limit={limit}" + (f"&continue={token}" if token else ""))
        found.append(answer)
        token = answer.json["metadata"].get("continue", "")
    return found


async def test_a_list_is_cluster_wide_or_of_one_namespace() -> None:
    server = ApiServer()
    add(server, "web", "b", "a")
    add(server, "web-2", "c")
    add(server, "we", "d")
    async with asking(server) as client:
        # as etcd orders keys: '-' comes before the '/' behind the namespace
        assert (await client.ask(PODS_PATH)).names == ["d", "c", "a", "b"]
        assert (await client.ask(WEB_PODS)).names == ["a", "b"]
        empty = await client.ask("/api/v1/namespaces/nowhere/pods")
        assert empty.body == (
            b'{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"5"},"items":[]}\n'
        )


async def test_pages_are_one_snapshot() -> None:
    server = ApiServer()
    add(server, "web", "a", "b", "c", "d")
    async with asking(server) as client:
        first = await client.ask(f"{WEB_PODS}?limit=3")
        metadata = first.json["metadata"]
        assert metadata == {
            "resourceVersion": "5",
            "continue": continue_token(5, "/c\0"),
            "remainingItemCount": 1,
        }
        add(server, "web", "ca", "e")
        await client.ask(f"{WEB_PODS}/d", "DELETE")
        (rest,) = await pages(client, WEB_PODS, 3, metadata["continue"])
        assert rest.names == ["d"]
        assert rest.json["metadata"] == {"resourceVersion": "5"}
        assert [page.names for page in await pages(client, WEB_PODS, 3)] == [["a", "b", "c"], ["ca", "e"]]


async def test_a_page_whose_version_is_compacted_leads_to_an_inconsistent_rest() -> None:
    server = ApiServer()
    add(server, "web", "a", "b", "c")
    async with asking(server) as client:
        token = (await client.ask(f"{PODS_PATH}?limit=1")).json["metadata"]["continue"]
        add(server, "web", "aa")
        server.compact(5)
        expired = await client.ask(f"{PODS_PATH}?limit=1&continue={token}")
        assert (expired.status, expired.json["reason"]) == (410, "Expired")
        assert expired.message.startswith("The provided continue parameter is too old to display")
        again = await client.ask(f"{PODS_PATH}?continue={expired.json['metadata']['continue']}")
        assert again.names == ["aa", "b", "c"]
        assert again.json["metadata"] == {"resourceVersion": "5"}


async def test_a_list_at_a_version() -> None:
    server = ApiServer()
    add(server, "web", "a", "b", "c")
    async with asking(server) as client:

        async def names(query: str) -> list[str]:
            return (await client.ask(f"{PODS_PATH}?{query}")).names

        assert await names("resourceVersion=3&resourceVersionMatch=Exact") == ["a", "b"]
        assert await names("resourceVersion=3&resourceVersionMatch=NotOlderThan") == ["a", "b", "c"]
        assert await names("resourceVersion=3") == ["a", "b", "c"]
        assert await names("resourceVersion=3&limit=9") == ["a", "b"]
        assert await names("resourceVersion=0") == ["a", "b", "c"]
        server.compact(3)
        assert await names("resourceVersion=3&resourceVersionMatch=Exact") == ["a", "b"]
        gone = await client.ask(f"{PODS_PATH}?resourceVersion=2&resourceVersionMatch=Exact")
        assert (gone.status, gone.json["reason"]) == (410, "Expired")
        early = await client.ask(f"{PODS_PATH}?resourceVersion=9")
        assert (early.status, early.headers["Retry-After"]) == (504, "1")
        assert early.message == "Timeout: Too large resource version: 9, current: 4"
        assert early.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("continue=abc", 400, "invalid character 'i' looking for beginning of value"),
        ("continue=ab!c", 400, "illegal base64 data"),
        ("continue=eyJ2IjoieCJ9", 400, "Object missing required field `rv`"),
        (f"continue={continue_token(1, 'a')}&resourceVersion=1", 400, "not allowed when using continue"),
        ("limit=-1", 400, 'invalid limit "-1"'),
        ("resourceVersion=latest", 400, 'invalid resourceVersion "latest"'),
        ("watch=1&resourceVersion=-5", 400, 'invalid resourceVersion "-5"'),
        ("watch=1&timeoutSeconds=1s", 400, 'invalid timeoutSeconds "1s"'),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422, "forbidden for watch unless sendInitialEvents"),
        ("watch=1&sendInitialEvents=true", 422, "requires setting resourceVersionMatch to NotOlderThan"),
    ],
)
async def test_invalid_options_are_refused(query: str, code: int, said: str) -> None:
    async with asking(ApiServer()) as client:
        answer = await client.ask(f"{PODS_PATH}?{query}")
        assert answer.status == code
        assert said in answer.message
        assert answer.json["code"] == code
