"""One API server: its address, our credentials, and requests.

Bodies are bytes. Of kubernetes-asyncio only the credentials are used (`credentials.py`): its watch and its
model classes are much slower than decoding only the used fields (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Errors of the connection to the API server; they may pass.
NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)


def distrusted(error: Exception) -> bool:
    """Whether the server's certificate is not signed by the authority that we trust, which may have been
    replaced."""
    return isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError)


def reason(error: Exception) -> str:
    """One of NETWORK_ERRORS as a text for a person."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        why = os.strerror(error.os_error.errno)
        return f"cannot connect to the API server at {error.host}:{error.port}: {why}"
    return f"{type(error).__name__}: {error}".rstrip(": ")


async def read(answer: aiohttp.ClientResponse, most: int = 256 << 20, within: float = 120.0) -> bytes:
    """The whole body. Raises aiohttp.ClientPayloadError if it has more than `most` bytes, TimeoutError if it
    is not complete within `within` seconds: a timeout of the socket does not end an answer that comes byte by
    byte."""
    parts: list[bytes] = []
    size = 0
    async with asyncio.timeout(within):
        async for chunk in answer.content.iter_any():
            parts.append(chunk)
            size += len(chunk)
            if size > most:
                raise aiohttp.ClientPayloadError(f"an answer of more than {most:,} bytes")
    return b"".join(parts)


#: Seconds to connect.
CONNECT_WITHIN = 10.0


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Names an API server. `server`: a URL without credentials, such as that of `kubectl proxy`; else
    `kubeconfig` (None: $KUBECONFIG or ~/.kube/config; in a pod its service account) and `context`."""

    server: str = ""
    kubeconfig: Path | None = None
    context: str = ""


class Credentials(Protocol):
    """How an API server is reached, and as whom. `host`: its URL. `options`: of each request. `place`:
    credentials with an equal one can share connections. `session`: new connections; raises BadInput."""

    host: str
    options: dict[str, Any]

    @property
    def place(self) -> object: ...
    def session(self) -> aiohttp.ClientSession: ...
    async def headers(self) -> dict[str, str]: ...


class _Anonymous:
    """No credentials, for a server that needs none."""

    def __init__(self, server: str) -> None:
        self.host = self.place = server.rstrip("/")
        self.options: dict[str, Any] = {}

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # each watch holds a connection
            trust_env=not _is_loopback(self.host),
            read_bufsize=1 << 21,
        )

    async def headers(self) -> dict[str, str]:
        return {}


class Api:
    """One API server, until closed."""

    _credentials: Credentials
    _session: aiohttp.ClientSession | None = None

    def __init__(self, target: Target) -> None:
        self.generation = 0
        self._target = target
        self._renewing = asyncio.Lock()

    async def open(self) -> None:
        """Load the configuration. Raises BadInput if there is none that can be used."""
        self._credentials = await self._load()
        self._session = self._credentials.session()

    async def renew(self, generation: int, anew: bool = False) -> None:
        """Load the credentials again, because those of `generation` were not accepted; once for all callers.
        `anew`: certificates too, since their files may have been replaced. Raises BadInput."""
        async with self._renewing:
            if generation != self.generation:
                return
            fresh = await self._load()
            if anew or fresh.place != self._credentials.place:
                session = fresh.session()  # certificates belong to connections, so all are opened again
                await self.close()
                self._session = session
            self._credentials = fresh
            self.generation += 1

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def server(self) -> str:
        return self._credentials.host

    async def get(self, path: str, query: Mapping[str, str], silence: float) -> aiohttp.ClientResponse:
        """One GET; the caller reads the body. `silence`: seconds without a byte after which it fails.
        Raises NETWORK_ERRORS."""
        return await self.call("GET", path, query, silence=silence)

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
        """The same as `get` with any method, and a body that is sent as JSON."""
        assert self._session is not None, "not open"
        # Compression would cost both sides more than it saves on a cluster's network.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "romana-bus"}
        if body is not None:
            headers["Content-Type"] = content_type
        return await self._session.request(
            method,
            self._credentials.host + path,
            params=query,
            data=None if body is None else msgspec.json.encode(body),
            headers=headers | await self._credentials.headers(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN, sock_read=silence),
            **self._credentials.options,
        )

    async def _load(self) -> Credentials:
        if self._target.server:
            return _Anonymous(self._target.server)
        from romana_bus.kubernetes import credentials  # large, see there

        return await credentials.load(self._target.kubeconfig, self._target.context)


def _is_loopback(url: str) -> bool:
    """Whether the URL is on this machine: then the environment's proxies are not used, as in client-go."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
