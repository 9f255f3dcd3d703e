"""Watcher and IPAM, started with the command lines of the manifests on the servers of the manifests, lead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from romana_bus.lab.kubeapi.server import ApiServer
from tests.deploy.manifests import container, environment, expanded
from tests.deploy.test_nats import identities, replaced, running
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OVERLAY = "three-zones"
ROMANA_BUS = str(Path(sys.executable).with_name("romana-bus"))


@contextlib.asynccontextmanager
async def process(workload: str, urls: list[str], creds: Path, *options: str) -> AsyncIterator[str]:
    """Yields the URL of its health. The mount of the Secret and the port are elsewhere."""
    one, port = container(OVERLAY, workload), free_port()
    values = environment(OVERLAY, one, "node-1", "192.0.2.11")
    values = os.environ | values | {"ROMANA_NATS": " ".join(urls)}
    [metrics] = one.spec["ports"]
    changes = {"/etc/romana-bus/creds": str(creds), f":{metrics['containerPort']}": f"127.0.0.1:{port}"}
    words = [replaced(expanded(word, values), changes) for word in one.spec["args"]]
    started = await asyncio.create_subprocess_exec(
        ROMANA_BUS, *words, *options, env=values, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        started.terminate()
        await started.wait()


async def ready(url: str) -> str:
    """Waits until the process is ready; returns what it says."""
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as answer:
                if answer.status == 200:
                    return await answer.text()
        await asyncio.sleep(0.05)


async def test_the_processes_of_the_manifests_become_leaders(tmp_path: Path) -> None:
    made = tmp_path / "identities"
    assert identities(made, "node-1").returncode == 0
    with running(OVERLAY, tmp_path, made) as (urls, _):
        async with (
            ApiServer() as api,
            process("watcher", urls, made / "creds", "--server", api.url) as watcher,
            process("ipam", urls, made / "creds") as ipam,
        ):
            for url in (watcher, ipam):
                while "leader" not in await ready(url):
                    await asyncio.sleep(0.05)
        shown = await asyncio.create_subprocess_exec(
            ROMANA_BUS, "status", "--json", stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"ROMANA_NATS": " ".join(urls), "ROMANA_NATS_CREDS": str(made)},
        )  # fmt: skip
        out, _err = await shown.communicate()
        assert shown.returncode == 0, out
        assert out.count(b'"replicas":3') == out.count(b'"replicas":') > 0, out
