"""Which links are wanted, and how their reconciler and calls of the runtime keep out of each other's way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from romana_bus.cni import spec
from romana_bus.cni.link import mend
from romana_bus.cni.link.drift import Actual, Drift
from romana_bus.cni.link.sysctls import NodeSysctls
from romana_bus.cni.server.attachments import Attachment, Attachments
from romana_bus.cni.server.commands import Commands, Node
from romana_bus.cni.server.journal import Journal
from romana_bus.cni.server.link_reconciler import LinkReconciler, wanted
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.threads import Threads
from romana_bus.cni.spec import Attached, CniError, Pod
from romana_bus.consumers.pod_addresses import OwnAddresses
from romana_bus.inet import V4, V6, format_address, parse_address
from romana_bus.netlink.pod_links import HostEnd
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from romana_bus.netlink.removals import Removals


def allowed(_: str) -> str:
    return ""


def attachment(container: str, *addresses: str) -> Attachment:
    return Attachment(
        network="pods", attached=Attached(container, "eth0"), netns="", pod=Pod("d", "p"), addresses=addresses
    )


@pytest.mark.parametrize(
    ("attachments", "routed"),
    [
        ([attachment("a", "10.0.0.1", "fd00::1")], {"a": ["10.0.0.1", "fd00::1"]}),
        ([attachment("a", "10.0.0.1"), attachment("b", "10.0.0.2")], {"a": ["10.0.0.1"], "b": ["10.0.0.2"]}),
        ([attachment("b", "10.0.0.1"), attachment("a", "10.0.0.1")], {"b": [], "a": ["10.0.0.1"]}),
        ([attachment("a", "10.0.0.1", "fd00::1"), attachment("b", "fd00::1")],
         {"a": ["10.0.0.1"], "b": ["fd00::1"]}),
        ([attachment("a", "10.0.0.1"), attachment("waits")], {"a": ["10.0.0.1"]}),
    ],
)  # fmt: skip
def test_an_address_is_routed_to_the_newest_sandbox(
    attachments: list[Attachment], routed: dict[str, list[str]]
) -> None:
    links = wanted(attachments, allowed)
    assert {
        each.attached.container: [format_address(*address) for address in link.routed]
        for each, link in links.values()
    } == routed
    assert all(link.veth.host == host for host, (_, link) in links.items())


def test_no_route_to_what_the_node_needs_is_restored() -> None:
    """As with a gateway that got a pod's address: the link stays as it is."""
    each = attachment("a", "10.0.0.1", "fd00::1")
    ((_, link),) = wanted([each], lambda address: "a gateway" if address == "10.0.0.1" else "").values()
    assert link.routed == (parse_address("fd00::1"),)
    assert [format_address(*address) for address in link.veth.addresses] == ["10.0.0.1", "fd00::1"]


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads()
    yield made
    made.close()


@pytest.fixture
def attachments(tmp_path: Path) -> Attachments:
    return Attachments(tmp_path / "attachments")


@pytest.fixture
def commands(tmp_path: Path, attachments: Attachments, threads: Threads) -> Commands:
    node = Node("n1", 0, 10.0, lambda: True, lambda: None, lambda: None, str, allowed, list)
    outbox = Outbox("n1", Journal(tmp_path / "journal"), threads)
    return Commands(node, attachments, outbox, OwnAddresses(), threads)


async def test_calls_wait_for_a_link_that_is_mended_and_a_running_call_is_left_alone(
    commands: Commands,
) -> None:
    one, other = Attached("one", "eth0"), Attached("other", "eth0")
    environment = {"CNI_COMMAND": "CHECK", "CNI_CONTAINERID": "one", "CNI_IFNAME": "eth0", "CNI_NETNS": "/x"}
    async with commands.locks.idle([one, other]) as idle:
        assert idle == {one, other}
        call = asyncio.create_task(
            commands.do(spec.parse(environment, b'{"cniVersion": "1.1.0", "name": "pods", "prevResult": {}}'))
        )
        await asyncio.sleep(0)
    async with commands.locks.idle([one, other]) as idle:
        assert idle == {other}  # the call is next
    async with commands.locks.idle([other]):
        with pytest.raises(CniError, match="prevResult"):
            await call
    async with commands.locks.idle([one]) as idle:
        assert idle == {one}


class Silent:
    """A kernel that reports nothing."""

    def take(self) -> bool:
        return False

    def take_deleted(self) -> set[str]:
        return set()

    def clear(self) -> None:
        pass


async def test_a_link_that_is_left_to_a_call_is_looked_at_again_soon(
    commands: Commands, attachments: Attachments, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = attachment("a", "10.0.0.1")
    attachments.put(each)
    ((host, _),) = wanted([each], allowed).items()
    down = HostEnd(ifindex=7, up=False, forwarding=1, rp_filter=1, accept_ra=-1, disable_ipv6=-1)
    gateways = {V4: frozenset({7}), V6: frozenset[int]()}
    actual = Actual({host: down}, gateways, frozenset(), {parse_address("10.0.0.1"): frozenset({7})})
    mended, looks = list[str](), list[Actual]()

    def read() -> Actual:
        looks.append(actual)
        return actual

    def apply(drifts: list[Drift]) -> dict[str, list[str]]:
        mended.extend(drift.veth.host for drift in drifts)
        return {}

    monkeypatch.setattr(mend, "read", read)
    monkeypatch.setattr(mend, "apply", apply)
    reconciler = LinkReconciler(
        attachments, commands, threads, NodeSysctls(sets=False), allowed, cast("Removals", Silent())
    )
    async with commands.locks.idle([each.attached]):  # as while a call runs
        running = asyncio.create_task(reconciler.run())
        while len(looks) < 4:
            await asyncio.sleep(0.01)
        assert mended == []
    while not mended:
        await asyncio.sleep(0.01)
    assert mended == [host]
    await stop(running)
