"""What the pages print as an example runs as it stands there."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from romana_bus.bus.auth.permissions import DECIDE, THIRD_PARTY, Identity
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.memory import MemoryStore
from romana_bus.bus.stream_config import Layout
from romana_bus.events import IPAM, NODE, ROLES, AddressAssigned, AddressReleased, PodAddress
from romana_bus.ipam.topology.document import parse
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.reconcile import run_reconciler
from tests.bus.auth import site
from tests.conftest import run
from tests.runtime.small_consumers import running
from tests.servers import NatsServer

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.events import Event

DOCS = Path(__file__).parent.parent.parent / "docs"
POD: dict[str, Any] = {"namespace": "web", "name": "a", "uid": "u", "node": "n"}
ASSIGNED = AddressAssigned(
    tenant="web", addresses=(PodAddress(address="10.0.0.1", network="pods", block="10.0.0.0/28"),), **POD
)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


async def say(store: Store, event: Event) -> None:
    await store.batch(IPAM, (await store.tail(IPAM)).last, [outgoing(event, "", 1, 3600)])


def test_the_reconciler_of_the_page_keeps_its_file(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "hosts_file"}
    (example,) = (block for block in blocks("consumers.md", "python") if "def hosts_file" in block)
    exec(compile(example, "consumers.md", "exec"), names)
    file = tmp_path / "pods.hosts"

    async def shows(text: str) -> None:
        while not file.exists() or file.read_text() != text:
            await asyncio.sleep(0.01)

    async def scenario() -> None:
        store = MemoryStore()
        await store.prepare((IPAM, NODE))
        async with running(run_reconciler(store, names["hosts_file"](file, "test"))):
            await shows("# kept by hosts-file\n")
            await say(store, ASSIGNED)
            await shows("# kept by hosts-file\n10.0.0.1 a.web\n")
            await say(store, AddressReleased(**POD))
            await shows("# kept by hosts-file\n")

    run(scenario())
    assert not names["plan"]({}, "# kept by hosts-file\n")


@pytest.mark.parametrize("identified", [True, False])
def test_the_reader_in_any_language_prints_each_address(tmp_path: Path, identified: bool) -> None:
    """With the identity of the page, and on a server that everybody may use."""
    (example,) = (block for block in blocks("consumers.md", "python") if "pull_subscribe" in block)
    creds = {"ROMANA_NATS_CREDS": str(tmp_path / "auth/creds/inventory.nk")} if identified else {}

    async def scenario() -> None:
        access = Access(servers=(server.url,), creds=tmp_path / "auth" if identified else None)
        async with await open_store(access, Layout(site.CLUSTER), "test", ROLES, who=DECIDE) as store:
            await say(store, ASSIGNED)
            reader = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                example,
                env=os.environ | {"ROMANA_NATS": server.url, "ROMANA_CLUSTER": site.CLUSTER} | creds,
                stdout=asyncio.subprocess.PIPE,
            )
            printed, _ = await reader.communicate()
        assert printed == b"web a 10.0.0.1\n"

    inventory = Identity("inventory", (THIRD_PARTY,), (), ("inventory",))
    with site.authorized(tmp_path, inventory) if identified else NatsServer(tmp_path, users="") as server:
        run(scenario())


def test_topology_of_the_page_is_valid() -> None:
    example, limits = (yaml.safe_load(block) for block in blocks("topology.md", "yaml"))
    topology = parse(example)
    assert [leaf.group for network in topology.networks for leaf in network.leaves] == ["zone-a", "zone-b"]
    (network,) = parse({**example, **limits}).networks
    assert (network.limits.fixed, network.limits.max_per_namespace) == (("db", "mail"), 16)
