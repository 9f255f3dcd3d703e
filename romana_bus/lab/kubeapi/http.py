"""Sends answers: headers, and plain or chunked bodies. Nothing is compressed: all clients are local."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}

#: Bodies up to this many bytes have a Content-Length, larger ones are chunked (net/http,
#: bufferBeforeChunkingSize).
_CHUNKED_ABOVE = 2048


def _headers(more: Mapping[str, str]) -> dict[str, str]:
    return {"Audit-Id": str(uuid.uuid4()), "Cache-Control": "no-cache, private", **JSON, **more}


def reply(code: int, body: bytes, more: Mapping[str, str]) -> web.Response:
    """A complete answer. `more`: additional headers."""
    response = web.Response(status=code, body=body, headers=_headers(more))
    if len(body) > _CHUNKED_ABOVE:
        response.enable_chunked_encoding()
    return response


class Stream:
    """An answer whose body is sent in parts. `async with` sends the headers, so that the client has them
    before the first part."""

    def __init__(self, request: web.Request) -> None:
        self.response = web.StreamResponse(headers=_headers({}))
        self.response.enable_chunked_encoding()
        self._request = request

    async def __aenter__(self) -> Self:
        await self.response.prepare(self._request)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Does nothing: aiohttp ends the response when the request handler returns it."""

    async def write(self, body: bytes) -> None:
        """Send a part. Raises ConnectionError if the client has disconnected."""
        await self.response.write(body)
