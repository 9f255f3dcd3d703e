"""How answers travel: their headers, chunked or not, compressed or not, and cut short when told to."""

from __future__ import annotations

import contextlib
import gzip
import uuid
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}

#: Bodies up to so many bytes have a Content-Length, larger ones are chunked (net/http,
#: bufferBeforeChunkingSize).
_CHUNKED_ABOVE = 2048

#: Bodies above so many bytes are compressed for those who accept it (apiserver, defaultGzipThresholdBytes).
_COMPRESSED_ABOVE = 128 * 1024


def _headers(more: Mapping[str, str]) -> dict[str, str]:
    return {"Audit-Id": str(uuid.uuid4()), "Cache-Control": "no-cache, private", **JSON, **more}


def reply(request: web.Request, code: int, body: bytes, more: Mapping[str, str]) -> web.Response:
    """A whole answer. `more`: headers beside the usual ones."""
    headers = _headers(more)
    if len(body) > _COMPRESSED_ABOVE and "gzip" in request.headers.get("Accept-Encoding", ""):
        body = gzip.compress(body, 1)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    response = web.Response(status=code, body=body, headers=headers)
    if len(body) > _CHUNKED_ABOVE:
        response.enable_chunked_encoding()
    return response


class Stream:
    """An answer whose body comes bit by bit. After `cut_at` bytes of it the connection is closed."""

    def __init__(self, request: web.Request, cut_at: int | None = None) -> None:
        self.response = web.StreamResponse(headers=_headers({}))
        self.response.enable_chunked_encoding()
        self._request = request
        self._left = cut_at

    async def start(self) -> None:
        """Send the headers: a client sees them before there is anything to say."""
        await self.response.prepare(self._request)

    async def write(self, body: bytes) -> None:
        """Raises ConnectionError when the client is gone, or was cut off."""
        if self._left is None:
            await self.response.write(body)
            return
        sent, self._left = body[: self._left], self._left - len(body)
        if sent:
            await self.response.write(sent)
        if self._left <= 0:
            if self._request.transport is not None:
                self._request.transport.close()
            raise ConnectionResetError("cut off as asked")


async def cut_short(request: web.Request, body: bytes, at: int) -> web.StreamResponse:
    """The first `at` bytes of `body`, and a connection that ends there."""
    stream = Stream(request, at)
    await stream.start()
    with contextlib.suppress(ConnectionError):
        await stream.write(body)
    return stream.response


async def silence(request: web.Request, until: asyncio.Event) -> web.StreamResponse:
    """Headers, and then nothing."""
    stream = Stream(request)
    await stream.start()
    await until.wait()
    return stream.response
