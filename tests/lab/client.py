"""What the tests of the small API server ask it with: answers as bytes, watches line by line."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, Self

import aiohttp
import msgspec
from yarl import URL

from romana_bus.lab.kubeapi.resources import PODS
from romana_bus.lab.kubeapi.wire import head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType
    from typing import Any

    from romana_bus.lab.kubeapi.resources import Resource
    from tests.lab.apiserver import ApiServer

MERGE = {"Content-Type": "application/merge-patch+json"}


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def message(self) -> Any:
        """A Status's."""
        return self.json["message"]

    @property
    def names(self) -> list[str]:
        """Of a list."""
        return [item["metadata"]["name"] for item in self.json["items"]]


class Client:
    """Requests to `url`, byte for byte as given: nothing is quoted, nothing is added but `token`."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers, skip_auto_headers=["Accept-Encoding"], read_bufsize=2**22
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(
        self, path: str, method: str = "GET", body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        data = None if body is None else msgspec.json.encode(body)
        url = URL(self._url + path, encoded=True)
        async with self._session.request(method, url, data=data, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    @contextlib.asynccontextmanager
    async def watch(self, path: str, accept: str = "*/*") -> AsyncIterator[Watched]:
        url = URL(self._url + path, encoded=True)
        async with self._session.get(url, headers={"Accept": accept}) as response:
            assert response.status == 200, await response.text()
            yield Watched(response)


class Watched:
    """A watch that is open."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def line(self) -> bytes:
        """The next one with its newline; b'' at the end."""
        return await self.response.content.readline()

    async def lines(self, count: int) -> list[bytes]:
        return [await self.line() for _ in range(count)]

    async def event(self) -> tuple[str, str, str]:
        """(type, name, resourceVersion) of the next one."""
        event = msgspec.json.decode(await self.line())
        metadata = event["object"]["metadata"]
        return event["type"], metadata.get("name", ""), metadata["resourceVersion"]


@contextlib.asynccontextmanager
async def asking(server: ApiServer, token: str = "") -> AsyncIterator[Client]:
    """The server, up, and a client of it."""
    async with server, Client(server.url, token) as client:
        yield client


@contextlib.asynccontextmanager
async def connection(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Bytes to and from `url`, without any HTTP."""
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it; the test's own time limit ends what never comes."""
    while not condition():
        await asyncio.sleep(0.001)


def pod(name: str, namespace: str = "web", **more: object) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": namespace}, **more}


def add(server: ApiServer, namespace: str, *names: str, resource: Resource = PODS) -> None:
    """Objects with little in them, one version each."""
    for name in names:
        version = server.store.version + 1
        metadata = b'"metadata":{"name":"%s","namespace":"%s","uid":"u%d","resourceVersion":"%d"}}' % (
            name.encode(),
            namespace.encode(),
            version,
            version,
        )
        server.apply_recorded("ADDED", resource, head(resource) + metadata)
