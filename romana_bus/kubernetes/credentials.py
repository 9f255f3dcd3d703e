"""Credentials for an API server, from a kubeconfig or a pod's service account.

kubernetes-asyncio reads them: exec plugins, tokens that are renewed, certificates. It takes 0.3 s and 32 MiB
to import, so `api.py` imports this module only if there is no `Target.server`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.rest import RESTClientObject
from kubernetes_asyncio.config.incluster_config import SERVICE_TOKEN_FILENAME

from romana_bus.errors import BadInput

if TYPE_CHECKING:
    import aiohttp

#: The fields of a configuration that belong to connections.
_PLACE = ("host", "ssl_ca_cert", "key_file", "verify_ssl", "tls_server_name", "proxy")


class Configured:
    """`api.Credentials` from a configuration of kubernetes-asyncio."""

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration
        self.host = str(configuration.host)
        options = {
            "proxy": configuration.proxy,
            "proxy_headers": configuration.proxy_headers,
            "server_hostname": configuration.tls_server_name,
        }
        self.options = {name: value for name, value in options.items() if value}

    @property
    def place(self) -> object:
        # The files of a client's certificate may have new contents under the same names.
        certificate = object() if self._configuration.cert_file else None
        return certificate, *(getattr(self._configuration, name) for name in _PLACE)

    def session(self) -> aiohttp.ClientSession:
        """New connections. Raises BadInput if the certificates cannot be loaded."""
        try:
            session: aiohttp.ClientSession = RESTClientObject(self._configuration).pool_manager
        except (OSError, ValueError) as error:
            raise BadInput(f"the API server's certificates cannot be loaded: {error}") from None
        return session

    async def headers(self) -> dict[str, str]:
        settings = await self._configuration.auth_settings()
        return {setting["key"]: setting["value"] for setting in settings.values()}


async def load(kubeconfig: Path | None, context: str) -> Configured:
    """The credentials of this kubeconfig and context, else of the usual one, else of the pod. Raises BadInput
    if there are none that can be used."""
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = 0  # without a limit: each watch holds a connection
    path = kubeconfig or _default_kubeconfig()
    if path is None and Path(SERVICE_TOKEN_FILENAME).exists():
        with _as_bad_input("in-cluster configuration"):
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return Configured(configuration)
    if path is None:
        raise BadInput("no kubeconfig: name one with --kubeconfig FILE, set KUBECONFIG, or run inside a pod")
    if not all(Path(part).is_file() for part in str(path).split(os.pathsep)):
        raise BadInput(f"--kubeconfig {path}: there is no such file")
    with _as_bad_input(f"kubeconfig {path}"):
        await config.load_kube_config(
            config_file=str(path),
            context=context or None,
            client_configuration=configuration,
        )
    return Configured(configuration)


def _default_kubeconfig() -> Path | None:
    if named := os.environ.get("KUBECONFIG"):
        return Path(named)
    usual = Path(os.path.expanduser("~/.kube/config"))  # Path.home() raises if there is no home directory
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
