"""Each role tries each publish, subscription and request, on a real server; and what a refusal looks like."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.api import NotPermitted, Outgoing
from romana_bus.bus.auth.permissions import READ, UP, agent_of
from romana_bus.events import KUBE, NODE, PermissionRefused, codec
from tests.bus.auth import matrix, site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import NatsServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authorized")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[NatsServer]:
    with site.authorized(folder) as started:
        yield started


async def test_every_role_may_do_what_the_table_says_and_nothing_else(
    server: NatsServer, folder: Path
) -> None:
    async with site.opened(server, folder / "auth", UP):
        pass  # creates the streams
    results = await matrix.tried(server.url, folder / "auth")
    assert len(results) > 1000
    wrong = [
        f"{result.role}: {result.operation.act} {result.operation.subject}: {result.refused or 'was allowed'}"
        for result in results
        if not result.as_told
    ]
    assert wrong == []


async def test_refusal_fails_the_request_at_once_and_is_on_the_log(server: NatsServer, folder: Path) -> None:
    auth = folder / "auth"
    async with site.opened(server, auth, UP) as store:
        agent = agent_of("n1")
        async with site.opened(server, auth, agent, "IPAM", NODE) as denied:
            async with asyncio.timeout(2):  # an answer that never comes takes 3 s
                with pytest.raises(NotPermitted, match=r"may not publish romana.c1.kube.pod.web.Evil"):
                    await denied.publish(KUBE, Outgoing("kube.pod.web.Evil", b"{}"))
                with pytest.raises(NotPermitted, match=r"STREAM.DELETE.ROMANA_c1_IPAM"):
                    await denied.api("STREAM.DELETE.ROMANA_c1_IPAM")
        async with site.opened(server, auth, READ) as reader:
            with pytest.raises(NotPermitted):
                await reader.publish("SPEC", Outgoing("spec.topology", b"{}"))
        for subject, refused in (
            (
                "node.n1.refused.agent-n1",
                ["romana.c1.kube.pod.web.Evil", "$JS.API.STREAM.DELETE.ROMANA_c1_IPAM"],
            ),
            ("node.-.refused.reader", ["romana.c1.spec.topology"]),
        ):
            newest = await store.newest(NODE, subject)
            assert newest is not None, subject
            event = codec.decode(newest.body)
            assert isinstance(event, PermissionRefused)
            assert [one.subject for one in event.refused] == refused
    document = json.loads(status(server, auth, "--json"))
    shown = {(row["identity"], row["act"], row["subject"]) for row in document["refused"]}
    assert ("agent-n1", "publish", "romana.c1.kube.pod.web.Evil") in shown
    assert ("reader", "publish", "romana.c1.spec.topology") in shown
    assert "romana.c1.kube.pod.web.Evil" in status(server, auth)


def status(server: NatsServer, auth: Path, *options: str) -> str:
    command = [
        sys.executable, "-m", "romana_bus", "status", "--nats", server.url, "--creds", str(auth),
        "--cluster", site.CLUSTER, *options,
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
