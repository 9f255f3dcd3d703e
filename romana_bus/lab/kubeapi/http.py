"""How answers are sent: their headers, chunked or not. None is compressed: nobody here is far away."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}

#: Bodies up to so many bytes have a Content-Length, larger ones are chunked (net/http,
#: bufferBeforeChunkingSize).
_CHUNKED_ABOVE = 2048


def _headers(more: Mapping[str, str]) -> dict[str, str]:
    return {"Audit-Id": str(uuid.uuid4()), "Cache-Control": "no-cache, private", **JSON, **more}


def reply(code: int, body: bytes, more: Mapping[str, str]) -> web.Response:
    """A whole answer. `more`: headers beside the usual ones."""
    response = web.Response(status=code, body=body, headers=_headers(more))
    if len(body) > _CHUNKED_ABOVE:
        response.enable_chunked_encoding()
    return response


class Stream:
    """An answer whose body comes in parts. `async with` sends the headers: a client sees them before there is
    anything to send."""

    def __init__(self, request: web.Request) -> None:
        self.response = web.StreamResponse(headers=_headers({}))
        self.response.enable_chunked_encoding()
        self._request = request

    async def __aenter__(self) -> Self:
        await self.response.prepare(self._request)
        return self

    async def __aexit__(self, *_: object) -> None:
        """The response ends when it is returned."""

    async def write(self, body: bytes) -> None:
        """Raises ConnectionError when the client is gone."""
        await self.response.write(body)
