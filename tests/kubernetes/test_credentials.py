"""Which API server, as whom; credentials that expire, and configurations that make no sense."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import yaml

from romana_bus.errors import BadInput, Failed
from romana_bus.kubernetes.api import Api, Target
from romana_bus.producers.kubernetes.objects import PODS
from romana_bus.producers.kubernetes.progress import Watched
from romana_bus.producers.kubernetes.resource_watch import ResourceWatch
from tests.lab.apiserver import ApiServer
from tests.producers.kubernetes.watching import QUICK, Reported, pods

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def kubeconfig(folder: Path, url: str, user: dict[str, Any]) -> Path:
    path = folder / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [{"name": "k", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return path


@contextlib.asynccontextmanager
async def watching(target: Target) -> AsyncIterator[Reported]:
    api, reported = Api(target), Reported()
    await api.open()
    task = asyncio.ensure_future(ResourceWatch(api, PODS, Watched(), reported.publish, QUICK).run())
    yield reported
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await api.close()


def exec_plugin(folder: Path) -> tuple[dict[str, Any], Path]:
    """A credential plugin (client.authentication.k8s.io/v1) that gives what stands in a file."""
    token = folder / "token"
    script = folder / "plugin"
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    head = json.dumps(answer)[:-1].replace('"', '\\"')
    script.write_text(f'#!/bin/sh\necho "{head}, \\"status\\": {{\\"token\\": \\"$(cat {token})\\"}}}}"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": answer["apiVersion"], "command": str(script)}}, token


async def test_a_token_of_a_kubeconfig(tmp_path: Path) -> None:
    async with ApiServer(token="secret") as server:
        target = Target(kubeconfig=kubeconfig(tmp_path, server.url, {"token": "secret"}))
        async with watching(target) as reported:
            await reported.until_reported("ResourceSynced")


async def test_exec_plugin_is_run_again_when_its_token_is_refused(tmp_path: Path) -> None:
    user, token = exec_plugin(tmp_path)
    token.write_text("first")
    server = ApiServer(token="first")
    async with server, watching(Target(kubeconfig=kubeconfig(tmp_path, server.url, user))) as reported:
        await reported.until_reported("ResourceSynced")
        server._token = "second"  # the first has expired
        token.write_text("second")
        server.close_watches()
        pods(server, "a")
        await reported.until_reported("PodSeen a")


@contextlib.asynccontextmanager
async def secured(authority: trustme.CA, server: ApiServer, port: int = 0) -> AsyncIterator[int]:
    """The server behind TLS, with a certificate of this authority; gives the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ends = list[asyncio.StreamWriter]()

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while some := await source.read(1 << 16):
                sink.write(some)
        sink.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond, to = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        ends.extend((writer, to))
        await asyncio.gather(copy(reader, to), copy(beyond, writer))

    listening = await asyncio.start_server(relay, "127.0.0.1", port, ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for end in ends:
            end.transport.abort()


async def test_an_authority_that_was_replaced_in_its_file_is_taken_up(tmp_path: Path) -> None:
    """The certificate of the server goes first, as when a cluster rotates them."""
    old, new, file = trustme.CA(), trustme.CA(), tmp_path / "ca.pem"
    old.cert_pem.write_to_path(str(file))
    async with ApiServer() as server, contextlib.AsyncExitStack() as stack:
        async with secured(old, server) as port:
            path = kubeconfig(tmp_path, f"https://127.0.0.1:{port}", {})
            config = yaml.safe_load(path.read_text())
            config["clusters"][0]["cluster"]["certificate-authority"] = str(file)
            path.write_text(yaml.safe_dump(config))
            reported = await stack.enter_async_context(watching(Target(kubeconfig=path)))
            await reported.until_reported("ResourceSynced")
        asked = sum(server.requests.values())
        async with secured(new, server, port):
            pods(server, "a")
            assert sum(server.requests.values()) == asked, "it does not trust the new one yet"
            new.cert_pem.write_to_path(str(file))
            await reported.until_reported("PodSeen a")


async def test_refused_credentials_end_with_what_to_check(tmp_path: Path) -> None:
    async with ApiServer(token="secret") as server:
        api = Api(Target(kubeconfig=kubeconfig(tmp_path, server.url, {"token": "wrong"})))
        await api.open()
        with pytest.raises(
            Failed, match=r"does not accept our credentials.*Unauthorized.*check the kubeconfig"
        ):
            await ResourceWatch(api, PODS, Watched(), Reported().publish, QUICK).run()
        await api.close()
        assert sum(server.requests.values()) <= 2


async def open_says(target: Target) -> str:
    with pytest.raises(BadInput) as caught:
        await Api(target).open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_kubeconfig_errors_are_one_line(tmp_path: Path) -> None:
    assert "there is no such file" in await open_says(Target(kubeconfig=tmp_path / "none"))
    broken = tmp_path / "broken"
    broken.write_text("clusters: [")
    assert f"kubeconfig {broken}" in await open_says(Target(kubeconfig=broken))
    broken.write_text("apiVersion: v1\n")
    assert f"kubeconfig {broken}" in await open_says(Target(kubeconfig=broken))
    good = kubeconfig(tmp_path, "https://127.0.0.1:1", {"token": "x"})
    assert "other" in await open_says(Target(kubeconfig=good, context="other"))
    config = yaml.safe_load(good.read_text())
    config["clusters"][0]["cluster"]["certificate-authority"] = "/none/ca.pem"
    good.write_text(yaml.safe_dump(config))
    assert "/none/ca.pem" in await open_says(Target(kubeconfig=good))
    failing, _ = exec_plugin(tmp_path)
    failing["exec"]["command"] = "/none/plugin"
    target = Target(kubeconfig=kubeconfig(tmp_path, "http://x", failing))
    assert "its credential plugin cannot be run: No such file" in await open_says(target)


async def test_missing_configuration_error_lists_the_locations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)

    assert "--kubeconfig FILE, set KUBECONFIG" in await open_says(Target())


async def test_inside_a_pod_the_service_account_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that it is found and read: the API server of a pod speaks TLS with the cluster's authority."""
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("secret")
    (account / "ca.crt").write_text("not a certificate")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr("romana_bus.kubernetes.credentials.SERVICE_TOKEN_FILENAME", str(account / "token"))
    for name in ("token", "ca.crt"):
        upper = "SERVICE_TOKEN_FILENAME" if name == "token" else "SERVICE_CERT_FILENAME"
        monkeypatch.setattr(f"kubernetes_asyncio.config.incluster_config.{upper}", str(account / name))

    assert "certificates cannot be loaded: [X509" in await open_says(Target())


def test_server_without_credentials_loads_no_kubernetes_library() -> None:
    """It takes 0.3 s and 32 MiB, in every kubelet of a lab too."""
    script = """
import asyncio, sys
from romana_bus.kubernetes.api import Api, Target

async def main():
    api = Api(Target(server="http://127.0.0.1:1"))
    await api.open()
    await api.close()

asyncio.run(main())
print("kubernetes_asyncio" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
