"""Credentials and certificates that are replaced while a watch runs."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Self

import trustme
import yaml

from romana_bus.kubernetes.api import Target
from tests.kubernetes.test_credentials import exec_plugin, kubeconfig, watching
from tests.lab.apiserver import ApiServer
from tests.producers.kubernetes.watching import pods

if TYPE_CHECKING:
    from pathlib import Path


async def test_credentials_are_read_again_until_they_are_accepted(tmp_path: Path) -> None:
    """The token's file may be late: the first renewals find one that is not accepted either."""
    accepted = {"first"}
    user, token = exec_plugin(tmp_path)
    token.write_text("first")
    server = ApiServer(tokens=accepted)
    async with server, watching(Target(kubeconfig=kubeconfig(tmp_path, server.url, user))) as reported:
        await reported.until_reported("ResourceSynced")
        accepted.clear()
        token.write_text("second")
        before = server.requests["watch", "pods"]
        server.close_watches()
        while server.requests["watch", "pods"] < before + 4:
            await asyncio.sleep(0.005)
        token.write_text("third")
        accepted.add("third")
        pods(server, "a")
        await reported.until_reported("PodSeen a")


class TlsFront:
    """What ends TLS before an API server, as a balancer does."""

    def __init__(self, server: ApiServer) -> None:
        self.port, self._behind = 0, int(server.url.rpartition(":")[2])
        self._listening: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def present(self, authority: trustme.CA) -> None:
        """A certificate of this authority from now on, on the same port; connections end."""
        await self._stop()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self._listening = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port, ssl=context)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._listening is not None:
            self._listening.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        answers, asks = await asyncio.open_connection("127.0.0.1", self._behind)
        try:
            await asyncio.gather(_copy(reader, asks), _copy(answers, writer))
        finally:
            asks.close()
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()


async def test_an_authority_that_is_replaced_in_its_file_is_taken_up(tmp_path: Path) -> None:
    first, second = trustme.CA(), trustme.CA()
    file = tmp_path / "ca.pem"
    first.cert_pem.write_to_path(str(file))
    async with ApiServer() as server, TlsFront(server) as front:
        await front.present(first)
        config = kubeconfig(tmp_path, f"https://127.0.0.1:{front.port}", {"token": "x"})
        document = yaml.safe_load(config.read_text())
        document["clusters"][0]["cluster"]["certificate-authority"] = str(file)
        config.write_text(yaml.safe_dump(document))
        async with watching(Target(kubeconfig=config)) as reported:
            await reported.until_reported("ResourceSynced")
            await front.present(second)
            second.cert_pem.write_to_path(str(file))
            pods(server, "a")
            await reported.until_reported("PodSeen a")
