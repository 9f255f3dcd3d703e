"""A connection to an API server that wants no credentials, without what those would need: a stand-in
starts in a third of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import aiohttp
import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONNECT_WITHIN = 5.0


class Plain:
    """A `client.Connection`."""

    def __init__(self, server: str) -> None:
        self._server = server

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: object = None,
        content_type: str = "application/json",
        silence: float,
    ) -> aiohttp.ClientResponse:
        return await self._session.request(
            method,
            self._server + path,
            params=query,
            data=None if body is None else msgspec.json.encode(body),
            headers={"Content-Type": content_type, "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_WITHIN, sock_read=silence),
        )
