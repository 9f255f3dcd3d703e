"""STATUS: whether this node can take pods, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.cni import spec
from romana_bus.cni.server.attachments import Attachments
from romana_bus.cni.server.commands import Commands, Node
from romana_bus.cni.server.journal import Journal
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.threads import Threads
from romana_bus.cni.spec import CniError
from romana_bus.consumers.pod_addresses import Known, OwnAddresses

if TYPE_CHECKING:
    from pathlib import Path

STATUS = spec.parse({"CNI_COMMAND": "STATUS"}, b'{"cniVersion": "1.1.0", "name": "pods"}')


async def test_agent_is_ready_when_in_sync_and_with_a_block(tmp_path: Path) -> None:
    threads, addresses, blocks, problems = Threads(), OwnAddresses(), list[str](), ["ip_forward is 0", "more"]
    node = Node(
        "n1", 0, 10.0, lambda: bool(blocks), lambda: None, lambda: None, str, lambda _: "", lambda: problems
    )
    outbox = Outbox("n1", Journal(tmp_path / "journal"), threads)
    commands = Commands(node, Attachments(tmp_path / "attachments"), outbox, addresses, threads)

    async def refused() -> str:
        with pytest.raises(CniError) as caught:
            await commands.do(STATUS)
        assert caught.value.code == 50
        return str(caught.value)

    assert "not in sync with the log" in await refused()
    await addresses.show(Known())
    assert "node n1 has no block" in await refused()
    blocks.append("10.0.0.0/26")
    assert "ip_forward is 0: more" in await refused()
    problems.clear()
    assert await commands.do(STATUS) == b""
    threads.close()
