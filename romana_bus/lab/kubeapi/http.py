"""How answers are sent: their headers, chunked or not, compressed or not, cut off where a fault says so."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import struct
import uuid
from typing import TYPE_CHECKING, Self

from aiohttp import web

from romana_bus.lab.kubeapi.faults import NONE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from romana_bus.lab.kubeapi.faults import Fault

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}

_GZIP = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}

#: Bodies up to so many bytes have a Content-Length, larger ones are chunked (net/http,
#: bufferBeforeChunkingSize).
_CHUNKED_ABOVE = 2048

#: Bodies above so many bytes are compressed for those who accept it (apiserver, defaultGzipThresholdBytes).
_COMPRESSED_ABOVE = 128 * 1024

#: A socket with this is reset when it is closed: SO_LINGER, on, 0 seconds.
_RESET = struct.pack("ii", 1, 0)


def _headers(more: Mapping[str, str]) -> dict[str, str]:
    return {"Audit-Id": str(uuid.uuid4()), "Cache-Control": "no-cache, private", **JSON, **more}


def reply(request: web.Request, code: int, body: bytes, more: Mapping[str, str]) -> web.Response:
    """A whole answer. `more`: headers beside the usual ones."""
    headers = _headers(more)
    if len(body) > _COMPRESSED_ABOVE and "gzip" in request.headers.get("Accept-Encoding", ""):
        body = gzip.compress(body, 1)
        headers |= _GZIP
    response = web.Response(status=code, body=body, headers=headers)
    if len(body) > _CHUNKED_ABOVE:
        response.enable_chunked_encoding()
    return response


class Stream:
    """An answer whose body comes in parts, until `fault` cuts it off. `async with` sends the headers: a
    client sees them before there is anything to send."""

    def __init__(self, request: web.Request, fault: Fault = NONE) -> None:
        self.response = web.StreamResponse(headers=_headers({}))
        self.response.enable_chunked_encoding()
        self._request, self._fault = request, fault
        self._left = fault.cut_at
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self.response.prepare(self._request)
        if self._fault.cut_after is not None:
            self._timer = asyncio.get_running_loop().call_later(self._fault.cut_after, self._cut)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()  # the connection may live on, with another request

    async def write(self, body: bytes) -> None:
        """Raises ConnectionError when the client is gone, or was cut off."""
        if self._left is None:
            await self.response.write(body)
            return
        sent, self._left = body[: self._left], self._left - len(body)
        if sent:
            await self.response.write(sent)
        if self._left <= 0:
            self._cut()
            raise ConnectionResetError("cut off as asked")

    def _cut(self) -> None:
        transport = self._request.transport
        if transport is None:
            return
        if self._fault.reset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        else:
            transport.close()


async def cut(request: web.Request, body: bytes, fault: Fault) -> web.StreamResponse:
    """A whole answer, until `fault` ends it."""
    stream = Stream(request, fault)
    with contextlib.suppress(ConnectionError):
        async with stream:
            await stream.write(body)
    return stream.response


def raw(request: web.Request, answer: bytes) -> web.Response:
    """All of an answer, byte for byte, and the end of the connection."""
    if request.transport is not None:
        request.transport.write(answer)
        request.transport.close()
    return web.Response()


async def silence(request: web.Request, until: asyncio.Event) -> web.StreamResponse:
    """Headers, and then nothing."""
    async with Stream(request) as stream:
        await until.wait()
    return stream.response
