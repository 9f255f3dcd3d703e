"""The NATS servers of the overlays, as their pods would start them, with identities of identities.sh."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from romana_bus.bus.api import NotPermitted, Outgoing
from romana_bus.bus.auth.permissions import DECIDE, WATCH, agent_of
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.events import IPAM, KUBE, NODE, ROLES
from tests.contract.test_store import pods
from tests.deploy.manifests import DEPLOY, container, environment, expanded, of_kind
from tests.servers import NatsServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

IDENTITIES = DEPLOY / "identities.sh"
#: The addresses in cluster.env, and what stands for them here.
ADDRESSES = {"192.0.2.11": "127.0.0.1", "192.0.2.12": "127.0.0.2", "192.0.2.13": "127.0.0.3"}


def identities(folder: Path, *nodes: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", IDENTITIES, folder, *nodes], env=os.environ | {"PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Path:
    done = identities(tmp_path / "identities", "node-1", "node-2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return tmp_path / "identities"


def mounted(overlay: str, folder: Path, made: Path) -> None:
    """The projected volume `config` of the pod."""
    [config] = [volume for volume in container(overlay, "nats").pod["volumes"] if volume["name"] == "config"]
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(overlay, "ConfigMap")}
    for source in config["projected"]["sources"]:
        match source:
            case {"configMap": {"name": name}}:
                for file, text in maps[name].items():
                    (folder / file).write_text(text)
            case {"secret": {"items": items}}:
                for item in items:
                    (folder / item["path"]).parent.mkdir(exist_ok=True)
                    shutil.copy(made / item["key"], folder / item["path"])


@contextlib.contextmanager
def running(overlay: str, folder: Path, made: Path) -> Iterator[tuple[list[str], list[int]]]:
    """The servers of an overlay on addresses of loopback, which share free ports; yields their URLs and the
    ports of their probes."""
    one, ports = container(overlay, "nats"), {"4222": free_port(), "6222": free_port()}
    count = one.workload["spec"]["replicas"]
    with contextlib.ExitStack() as stack:
        urls, probes = [], []
        for number, (address, here) in enumerate(list(ADDRESSES.items())[:count], 1):
            place = folder / f"n{number}"
            place.mkdir()
            mounted(overlay, place, made)
            probes.append(free_port())
            changes = {"/var/lib/romana-bus/nats": str(place / "js"), "8222": str(probes[-1])} | {
                before: str(after) for before, after in ports.items()
            }
            config = place / "nats.conf"
            config.write_text(replaced(config.read_text(), changes))
            values = environment(overlay, one, f"node-{number}", address)
            values = {name: replaced(value, ADDRESSES | {"6222": str(ports["6222"])})
                      for name, value in values.items()}  # fmt: skip
            server = NatsServer(place / "run", host=here)
            server.port = ports["4222"]
            assert [expanded(word, values) for word in one.spec["command"]] == [
                "nats-server", "--config", "/etc/romana-bus/nats/nats.conf",
            ]  # fmt: skip
            server.run(config, values)
            stack.callback(server.kill)
            urls.append(server.url)
        yield urls, probes


def replaced(text: str, changes: dict[str, str]) -> str:
    for before, after in changes.items():
        text = text.replace(before, after)
    return text


async def healthy(url: str) -> None:
    """Waits until a probe succeeds: a follower may be a moment behind."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(url) as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("overlay", ["one-node", "three-zones"])
async def test_every_process_works_with_the_key_that_it_is_given(
    overlay: str, tmp_path: Path, made: Path
) -> None:
    with running(overlay, tmp_path, made) as (urls, probes):
        assert len(urls) == (3 if overlay == "three-zones" else 1)
        layout = Layout("default", replicas=len(urls))
        access = Access(servers=tuple(urls), creds=made / "creds")
        async with await open_store(access, layout, "watch", ROLES, who=WATCH) as watcher:
            assert await watcher.batch(KUBE, 0, pods(1, 2, 3)) == 3
            with pytest.raises(NotPermitted):
                await watcher.publish(IPAM, Outgoing("ipam.leader", b"{}"))
        async with await open_store(access, layout, "run", ROLES, who=DECIDE) as ipam:
            assert await ipam.publish(IPAM, Outgoing("ipam.map.host.node-1", b"placed")) == 1
        who = agent_of("node-2")
        async with await open_store(access, layout, "agent", (IPAM, NODE), who=who, creates=False) as agent:
            assert await agent.publish(NODE, Outgoing("node.node-2.routes", b"{}")) > 0
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = container(overlay, "nats").spec[probe]["httpGet"]["path"]
            for port in probes:
                await healthy(f"http://127.0.0.1:{port}{path}")


def test_a_node_is_added_and_the_others_keep_their_keys(made: Path) -> None:
    before = {file.name: file.read_text() for file in [*(made / "creds").iterdir(), made / "route.env"]}
    assert identities(made, "node-2", "node-3").returncode == 0
    after = {file.name: file.read_text() for file in [*(made / "creds").iterdir(), made / "route.env"]}
    assert after == before | {"agent-node-3.nk": after["agent-node-3.nk"]}
    listed = (made / "kustomization.yaml").read_text()
    for node in ("node-1", "node-2", "node-3"):
        assert f"- creds/agent-{node}.nk\n" in listed
    assert "operator" not in listed


def test_bad_input_of_identities_is_refused(tmp_path: Path) -> None:
    done = identities(tmp_path / "new")
    assert (done.returncode, done.stderr) == (2, f"usage: {IDENTITIES} DIR NODE...\n")
    assert not (tmp_path / "new").exists()
    done = identities(tmp_path / "new", "node 1")
    assert done.returncode == 2
    assert "--node 'node 1'" in done.stderr
    assert not (tmp_path / "new/kustomization.yaml").exists()
