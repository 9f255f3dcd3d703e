"""The client of the API server: its address, our credentials, and requests.

kubernetes-asyncio handles kubeconfig, exec plugins, in-cluster tokens and their renewal. Bodies are read as
bytes, without its model classes (2,100 watch events/s; decoding only the used fields is 150 times as fast).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import structlog
from kubernetes_asyncio import client, config
from kubernetes_asyncio.config.incluster_config import SERVICE_TOKEN_FILENAME

from romana_bus.errors import BadInput, Failed
from romana_bus.producers.kubernetes.responses import unwatchable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from romana_bus.producers.kubernetes.objects import Kind

log = structlog.get_logger(__name__)

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


#: The fields that two configurations of the same server have in common.
_PLACE = ("host", "ssl_ca_cert", "key_file", "verify_ssl", "tls_server_name", "proxy")

#: Seconds to connect.
CONNECT_WITHIN = 10.0


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Names an API server. `server`: a URL without credentials, such as that of `kubectl proxy`; else
    `kubeconfig` (None: $KUBECONFIG or ~/.kube/config; in a pod its service account) and `context`."""

    server: str = ""
    kubeconfig: Path | None = None
    context: str = ""


class Api:
    """One API server, until closed."""

    def __init__(self, target: Target) -> None:
        self.generation = 0
        self._target = target
        self._client: Any = None
        self._renewing = asyncio.Lock()

    async def open(self) -> None:
        """Load the configuration. Raises BadInput if there is none that can be used."""
        self._use(await self._configuration())

    async def renew(self, generation: int, anew: bool = False) -> None:
        """Load the credentials again, because those of `generation` were not accepted; once for all callers.
        `anew`: certificates too, since their files may have been replaced. Raises BadInput."""
        async with self._renewing:
            if generation != self.generation:
                return
            fresh, used = await self._configuration(), self._client.configuration
            moved = any(getattr(fresh, name) != getattr(used, name) for name in _PLACE)
            if anew or fresh.cert_file or moved:
                await self.close()  # certificates belong to connections, so all have to be opened again
                self._use(fresh)
            else:
                used.api_key, used.refresh_api_key_hook = fresh.api_key, fresh.refresh_api_key_hook
            self.generation += 1

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    @property
    def server(self) -> str:
        return str(self._client.configuration.host)

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
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN, sock_read=silence)
        # Compression would cost both sides more than it saves on a cluster's network.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        answer: aiohttp.ClientResponse = await self._client.call_api(
            path,
            method,
            query_params=list(query.items()),
            header_params=headers if body is None else headers | {"Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=timeout,
        )
        return answer

    def _use(self, configuration: Any) -> None:
        try:
            self._client = client.ApiClient(configuration=configuration)
        except (OSError, ValueError) as error:  # certificates that cannot be loaded
            raise BadInput(f"the API server's certificates cannot be loaded: {error}") from None

    async def _configuration(self) -> Any:
        configuration = client.Configuration()
        configuration.connection_pool_maxsize = 64  # each watch holds one
        await self._load(configuration)
        return configuration

    async def _load(self, configuration: Any) -> None:
        target = self._target
        if target.server:
            configuration.host = target.server.rstrip("/")
            return
        path = target.kubeconfig or _default_kubeconfig()
        if path is None and Path(SERVICE_TOKEN_FILENAME).exists():
            with _as_bad_input("in-cluster configuration"):
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            return
        if path is None:
            raise BadInput(
                "no kubeconfig: name one with --kubeconfig FILE, set KUBECONFIG, or run inside a pod"
            )
        if not all(Path(part).is_file() for part in str(path).split(os.pathsep)):
            raise BadInput(f"--kubeconfig {path}: there is no such file")
        with _as_bad_input(f"kubeconfig {path}"):
            await config.load_kube_config(
                config_file=str(path),
                context=target.context or None,
                client_configuration=configuration,
            )


def _default_kubeconfig() -> Path | None:
    if named := os.environ.get("KUBECONFIG"):
        return Path(named)
    usual = Path(os.path.expanduser("~/.kube/config"))  # Path.home() raises where there is none
    return usual if usual.is_file() else None


class _as_bad_input(contextlib.AbstractContextManager[None]):
    """Turns any error of kubernetes-asyncio about a configuration into BadInput, one line. It raises
    ConfigException, yaml errors, KeyError, AssertionError, OSError of an exec plugin and others."""

    def __init__(self, what: str) -> None:
        self._what = what
        logging.getLogger("kubernetes_asyncio").setLevel(logging.CRITICAL)

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception):
            reason = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, OSError) and not error.filename:
                reason = f"its credential plugin cannot be run: {error.strerror}"
            raise BadInput(f"{self._what}: {reason}") from None


async def refuse_unwatchable(api: Api, kinds: Iterable[Kind]) -> None:
    """Raises Failed if the API server offers no watch for one of the kinds. If the server does not answer,
    nothing is checked."""
    for kind in kinds:
        try:
            async with await api.get(kind.path.rpartition("/")[0], {}, CONNECT_WITHIN) as answer:
                body = await read(answer, most=16 << 20, within=30.0)
        except NETWORK_ERRORS:
            return
        if answer.status == 200 and (why := unwatchable(body, kind)):
            raise Failed(f"--resource {kind.name}: {why}")
