"""A new sandbox of a pod whose older one is still attached: it has the addresses that the older one holds."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from romana_bus.cni import spec
from romana_bus.cni.link import attach, check
from romana_bus.cni.server.attachments import Attachment, Attachments
from romana_bus.cni.server.commands import Commands, Node
from romana_bus.cni.server.journal import Journal
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.threads import Threads
from romana_bus.cni.spec import Attached, CniError, Pod
from romana_bus.consumers.pod_addresses import Known, OwnAddresses
from romana_bus.events import AddressAssigned, PodAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

POD, ADDRESS = Pod("default", "web", "uid"), "10.0.0.1"
OLDER = Attachment(
    network="pods", attached=Attached("older", "eth0"), netns="/n", pod=POD, addresses=(ADDRESS,),
    requested=True,
)  # fmt: skip


@pytest.fixture
def attachments(tmp_path: Path) -> Attachments:
    made = Attachments(tmp_path / "attachments")
    made.put(OLDER)
    return made


@pytest.fixture
async def commands(
    tmp_path: Path, attachments: Attachments, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Commands]:
    """Of a node whose log has the pod's addresses; whether it has the request was not read since."""
    for module, name, result in (
        (attach, "attach", None), (attach, "detach", None), (check, "namespace_inode", 7),
        (check, "uplink_mtu", 1500),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *_, result=result: result)
    threads, addresses = Threads(), OwnAddresses()
    given = (PodAddress(address=ADDRESS, network="net", block="10.0.0.0/29"),)
    decision = AddressAssigned(
        namespace=POD.namespace, name=POD.name, uid=POD.uid, node="n1", tenant="default", addresses=given
    )
    await addresses.show(Known({(POD.namespace, POD.name): decision}))
    node = Node("n1", 0, 10.0, lambda: True, lambda: None, lambda: None, str, lambda _: "", list)
    outbox = Outbox("n1", Journal(tmp_path / "journal"), threads)
    yield Commands(node, attachments, outbox, addresses, threads)
    threads.close()


def add(timeout: float) -> spec.Call:
    environment = {
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "newer", "CNI_IFNAME": "eth0", "CNI_NETNS": "/n",
        "CNI_ARGS": f"K8S_POD_NAMESPACE={POD.namespace};K8S_POD_NAME={POD.name};K8S_POD_UID={POD.uid}",
    }  # fmt: skip
    config = {"cniVersion": "1.1.0", "name": "pods", "timeout": timeout}
    return spec.parse(environment, json.dumps(config).encode())


async def test_it_does_not_wait_for_the_log(commands: Commands) -> None:
    result = json.loads(await commands.do(add(60)))
    assert [each["address"] for each in result["ips"]] == [f"{ADDRESS}/32"]


async def test_it_waits_if_the_older_one_is_ending(commands: Commands) -> None:
    """Its addresses may be released: what the log says next counts."""
    async with commands.locks.alone(OLDER.attached.container):
        with pytest.raises(CniError, match="no address for pod default/web yet"):
            await commands.do(add(0.1))


async def test_second_interface_waits_for_the_first_and_is_refused(
    commands: Commands, attachments: Attachments
) -> None:
    async with commands.locks.alone("newer"):
        second = asyncio.create_task(commands.do(add(60)._replace(ifname="net1")))
        for _ in range(10):
            await asyncio.sleep(0)
        attachments.put(msgspec.structs.replace(OLDER, attached=Attached("newer", "eth0")))
    with pytest.raises(CniError, match=r"CNI_IFNAME net1: .* already has eth0") as refused:
        await second
    assert refused.value.code == spec.ENVIRONMENT


def test_link_that_exists_is_no_lost_sandbox() -> None:
    """Another may have been made since the look that did not find it."""
    assert not check.is_lost("lo", "/run/netns/none-of-ours", 7)
    assert check.is_lost("rb0123456789abc", "/run/netns/none-of-ours", 7)
