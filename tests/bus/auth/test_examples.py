"""The configurations in nats/, as they are, on real servers: one, three that replicate, and a leaf node."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.api import NotPermitted, Outgoing
from romana_bus.bus.auth import directory
from romana_bus.bus.auth.permissions import DECIDE, LEAF, READ, UP, WATCH, Identity, agent_of
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.events import IPAM, KUBE, NODE, ROLES, Applied
from romana_bus.runtime import alive
from tests.contract.test_store import pods, table_at
from tests.servers import NatsServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[3] / "nats"
CLUSTER = "examples"
LEAF_A, AGENT = Identity("leaf-a", (LEAF,)), agent_of("n1")


class Example(NatsServer):
    """A server of one of the files, with other ports, names and directories."""

    def __init__(self, folder: Path, file: str, changes: dict[str, str]) -> None:
        super().__init__(folder / "run")
        self.file, self.changes = file, {"/var/lib/romana-bus/nats": str(folder / "js")} | changes

    def write(self) -> Path:
        text = (EXAMPLES / self.file).read_text()
        for old, new in self.changes.items():
            if old in text:
                text = text.replace(old, new)
        config = self.directory.parent / self.file
        config.write_text(text)
        return config


def prepare(folder: Path) -> Path:
    directory.ensure(folder / "auth", CLUSTER, [UP, WATCH, DECIDE, READ, AGENT, LEAF_A])
    return folder / "auth"


@contextlib.contextmanager
def started(example: Example, **environment: str) -> Iterator[Example]:
    example.run(example.write(), environment)
    try:
        yield example
    finally:
        example.kill()


async def roles_work(urls: list[str], auth: Path, replicas: int, agent_url: str = "") -> None:
    layout = Layout(CLUSTER, replicas=replicas)
    access = Access(servers=tuple(urls), creds=auth)
    async with await open_store(access, layout, "watch", ROLES, who=WATCH) as watcher:
        assert await watcher.batch(KUBE, 0, pods(1, 2, 3)) == 3
        with pytest.raises(NotPermitted):
            await watcher.publish(IPAM, Outgoing("ipam.leader", b"{}"))
    async with await open_store(access, layout, "run", ROLES, who=DECIDE) as ipam:
        messages, _ = await table_at(ipam, KUBE, 3)
        assert [message.body for message in messages] == [b"a1", b"a2", b"a3"]
        assert await ipam.publish(IPAM, Outgoing("ipam.map.host.n1", b"placed")) == 1
    agents = Access(servers=(agent_url,) if agent_url else tuple(urls), creds=auth)
    async with await open_store(agents, layout, "agent", (IPAM, NODE), who=AGENT, creates=False) as agent:
        while not (batches := [batch async for batch in agent.table(IPAM, "ipam.map.>")]):
            await asyncio.sleep(0.02)  # the table is a moment behind
        assert [message.body for batch in batches for message in batch] == [b"placed"]
        assert await agent.publish(NODE, Outgoing("node.n1.routes", b"{}")) > 0
        with pytest.raises(NotPermitted):
            await agent.publish(NODE, Outgoing("node.n2.routes", b"{}"))
        sign = Applied(node="n1", consumer="routes")
        await alive.answer(agent, lambda: sign)
        for who in (READ, DECIDE):
            async with await open_store(access, layout, "status", ROLES, who=who, looking=True) as asking:
                assert await asking.newest(NODE, "node.n1.routes") is not None
                while not (answers := await alive.ask(asking, [sign.subject()])):
                    pass  # a leaf node is told a moment later who listens
                assert answers == {sign.subject(): sign}


async def test_one_server(tmp_path: Path) -> None:
    auth, port, monitor = prepare(tmp_path), free_port(), free_port()
    example = Example(tmp_path, "server.conf", {":4222": f":{port}", ":8222": f":{monitor}"})
    example.port = port
    with started(example):
        await roles_work([example.url], auth, 1)


@pytest.mark.cluster
@pytest.mark.within(90)
async def test_three_servers_and_a_leaf_node(tmp_path: Path) -> None:
    routes, leaf_port = [free_port() for _ in range(3)], free_port()
    with contextlib.ExitStack() as stack:
        urls = []
        for number in range(1, 4):
            folder = tmp_path / f"n{number}"
            folder.mkdir()
            auth = folder / "auth"
            if number == 1:
                prepare(folder)
            else:
                subprocess.run(["cp", "-r", str(tmp_path / "n1/auth"), str(auth)], check=True)
            port = free_port()
            peers = {
                f"nats://nats-{other}:6222": f"nats://127.0.0.1:{route}"
                for other, route in enumerate(routes, 1)
            }
            changes = peers | {
                "0.0.0.0:4222": f"127.0.0.1:{port}", "0.0.0.0:6222": f"127.0.0.1:{routes[number - 1]}",
                "0.0.0.0:7422": f"127.0.0.1:{leaf_port if number == 1 else free_port()}",
                "127.0.0.1:8222": f"127.0.0.1:{free_port()}", '"nats-1"': f'"nats-{number}"',
            }  # fmt: skip
            example = Example(folder, "cluster.conf", changes)
            example.port = port
            stack.enter_context(started(example))
            urls.append(example.url)
        auth = tmp_path / "n1/auth"
        seed, _ = directory.read_seed(directory.seed_file(auth, "leaf-a"))
        folder = tmp_path / "leaf"
        folder.mkdir()
        subprocess.run(["cp", "-r", str(auth), str(folder / "auth")], check=True)
        port = free_port()
        leaf = Example(
            folder,
            "leaf.conf",
            {"0.0.0.0:4222": f"127.0.0.1:{port}", "nats-1:7422": f"127.0.0.1:{leaf_port}"},
        )
        leaf.port = port
        stack.enter_context(started(leaf, ROMANA_LEAF_SEED=seed))
        while "Leafnode connection created" not in (leaf.directory / "nats.log").read_text():
            await asyncio.sleep(0.05)
        await roles_work(urls, auth, 3, leaf.url)


async def test_a_key_is_added_rotated_and_revoked_while_others_go_on(tmp_path: Path) -> None:
    auth, port, monitor = prepare(tmp_path), free_port(), free_port()
    example = Example(tmp_path, "server.conf", {":4222": f":{port}", ":8222": f":{monitor}"})
    example.port = port
    layout = Layout(CLUSTER)

    def command(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "romana_bus", "auth", *words], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "SU" not in done.stdout

    async def reload() -> None:
        example.signal(1)
        log, until = example.directory / "nats.log", time.monotonic() + 10
        before = getattr(example, "reloads", 0)
        while log.read_text().count("Reloaded server configuration") <= before:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        example.reloads = before + 1  # type: ignore[attr-defined]

    with started(example):
        access = Access(servers=(example.url,), creds=auth)
        async with await open_store(access, layout, "watch", ROLES, who=WATCH) as watcher:
            async with await open_store(
                access, layout, "agent", (IPAM, NODE), who=AGENT, creates=False
            ) as agent:
                command("add", str(auth), "agent", "--node", "n2")
                command("rotate", str(auth), "agent-n1")
                await reload()
                for who in (agent_of("n2"), AGENT):  # a new one, and the new key of one that is connected
                    async with await open_store(
                        access, layout, "agent", (IPAM, NODE), who=who, creates=False
                    ) as other:
                        await other.publish(NODE, Outgoing(f"node.{who.nodes[0]}.routes", b"{}"))
                await agent.publish(NODE, Outgoing("node.n1.routes", b"{}"))
                assert (agent.generation, watcher.generation) == (0, 0)
                command("rotate", str(auth), "agent-n1", "--finish")
                await reload()
                while agent.connected:
                    await asyncio.sleep(0.01)
            command("revoke", str(auth), "agent-n2")
            await reload()
            assert watcher.generation == 0
        assert not directory.seed_file(auth, "agent-n2").exists()
