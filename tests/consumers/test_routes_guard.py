"""A map that would take away what the node lives on: the kernel does not get those routes, others it does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.memory import MemoryStore
from romana_bus.consumers.node_network import MOST, node_network
from romana_bus.events import NODE, ROLES, Applied, NodeNetwork, codec
from romana_bus.inet import parse_address
from romana_bus.netlink.node_network import Reached
from romana_bus.routing import Network
from romana_bus.runtime import alive
from romana_bus.runtime.kept_report import keep_reported
from tests import kernel
from tests.consumers.reconciling import TO_YOU, opened, reconciled, say, until, ways
from tests.netns import Namespace, needs_namespaces
from tests.routing.routes.hosts_and_blocks import PAIR, block, placed, removed
from tests.runtime.small_consumers import everything, running

if TYPE_CHECKING:
    from romana_bus.bus.api import Store

pytestmark = needs_namespaces

LOG = Reached(frozenset([parse_address("10.1.0.20")]))


async def written(*events: object) -> MemoryStore:
    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, *PAIR, *events)  # type: ignore[arg-type]
    return store


async def newest(store: Store, subject: str) -> object:
    message = await store.newest(NODE, subject)
    return codec.decode(message.body) if message else None


def unreachable(node: Namespace) -> set[str]:
    return {route.destination for route in node.routes(kernel.BLOCKS) if route.kind == "unreachable"}


@pytest.mark.parametrize("objects", [True, False])
async def test_dangerous_routes_follow_the_addresses_of_the_node(node: Namespace, objects: bool) -> None:
    store = await written()
    async with reconciled(node, store, objects):
        await until(lambda: ways(node) == TO_YOU)
        node.ip("address", "add", "10.1.1.9/24", "dev", "eth0")
        await until(
            lambda: (
                ways(node).keys() == TO_YOU.keys() - {"10.1.1.0/28"}
                and unreachable(node) == {"10.1.0.0/16", "fd01::/64"}
            )  # shorter: the link's prefix comes first
        )
        assert node.gateway_to("10.1.1.3") == ""
        node.ip("-6", "address", "add", "fd01::9/64", "dev", "eth0", "nodad")
        await until(lambda: ways(node).keys() == {"10.1.0.16/28"} and unreachable(node) == {"10.1.0.0/16"})
        node.ip("address", "del", "10.1.1.9/24", "dev", "eth0")
        node.ip("-6", "address", "del", "fd01::9/64", "dev", "eth0")
        await until(lambda: ways(node) == TO_YOU and unreachable(node) == {"10.1.0.0/16", "fd01::/64"})


async def test_routes_never_become_the_way_to_the_log(node: Namespace) -> None:
    """Which is behind the default route: of the host's blocks, and of our own group."""
    store = await written()
    async with reconciled(node, store, reached=lambda: LOG) as routes:
        await until(
            lambda: (
                ways(node).keys() == TO_YOU.keys() - {"10.1.0.16/28"}
                and unreachable(node) == {"10.1.0.0/28", "fd01::/64"}
            )
        )
        assert node.gateway_to("10.1.0.20") == "10.99.255.254"
        node.ip("route", "add", "10.1.0.20/32", "via", "10.99.0.77")  # then ours are shorter
        await until(lambda: ways(node) == TO_YOU)
        assert node.gateway_to("10.1.0.20") == "10.99.0.77"
        assert routes.standing()["routes refused"] == 0
        node.ip("route", "del", "10.1.0.20/32")
        await until(lambda: "10.1.0.16/28" not in ways(node))


async def test_refused_routes_are_reported_by_prefix(node: Namespace) -> None:
    store = await written(placed("they", "10.99.0.3"), block("they", "10.99.7.0/28"))
    async with reconciled(node, store):
        while not isinstance(report := await newest(store, "node.me.routes"), Applied):
            await asyncio.sleep(0.01)
        assert report.standing["routes refused"] == 1
        why = "it lies in 10.99.0.0/16, to which this node is connected"
        assert report.refused == {"10.99.7.0/28": why}


async def test_without_the_log_dangerous_routes_are_withdrawn_and_others_stay(node: Namespace) -> None:
    store = await written()
    async with reconciled(node, store):
        await until(lambda: ways(node) == TO_YOU and unreachable(node) == {"10.1.0.0/16", "fd01::/64"})
    node.ip("address", "add", "10.1.1.9/24", "dev", "eth0")
    async with opened(node, reached=lambda: LOG) as routes:
        assert ways(node) == TO_YOU
        await routes.withdraw_refused()
        assert ways(node).keys() == {"fd01::10/124"}
        assert unreachable(node) == {"fd01::/64"}
        await routes.withdraw_refused()
        assert ways(node).keys() == {"fd01::10/124"}


def test_report_of_a_node_with_very_many_addresses_is_bounded() -> None:
    many = frozenset((32, value) for value in range(100_000))
    report = node_network("me", Network(addresses=many))
    assert len(report.addresses) == MOST
    assert report.addresses[-1] == "0.0.3.231"


async def test_what_the_node_lives_on_is_reported_when_it_changes(node: Namespace) -> None:
    store = await written()
    expected = NodeNetwork(
        node="me",
        consumer="network",
        addresses=("10.99.0.1", "fd99::1"),
        connected=("10.99.0.0/16", "fd99::/64"),
        gateways=("10.99.255.254",),
        reached=("10.1.0.20",),
    )
    changed = NodeNetwork(
        node="me",
        consumer="network",
        addresses=("10.98.0.1", "10.99.0.1", "fd99::1"),
        connected=("10.98.0.0/24", "10.99.0.0/16", "fd99::/64"),
        gateways=("10.99.255.254",),
        reached=("10.1.0.20",),
    )

    async def reported() -> list[object]:
        said = [codec.decode(message.body) for message in await everything(store, NODE)]
        return [report for report in said if isinstance(report, NodeNetwork)]

    for _ in range(2):  # the second agent has nothing new to say
        async with reconciled(node, store, reached=lambda: LOG) as routes:
            reporting = keep_reported(
                store,
                lambda: routes.network and node_network("me", routes.network),
                routes.network_changed,
                lambda: routes.listings,
            )
            async with running(reporting):
                while await newest(store, "node.me.network") != expected:
                    await asyncio.sleep(0.01)
                node.ip("address", "add", "10.98.0.1/24", "dev", "eth0")
                while await newest(store, "node.me.network") != changed:
                    await asyncio.sleep(0.01)
                assert (await alive.ask(store, ["node.me.network"]))["node.me.network"] == changed
                node.ip("address", "del", "10.98.0.1/24", "dev", "eth0")
                while await newest(store, "node.me.network") != expected:
                    await asyncio.sleep(0.01)
    assert await reported() == [expected, changed] * 2 + [expected]


async def test_what_the_node_lives_on_is_reported_again_when_the_node_is_back(node: Namespace) -> None:
    """IPAM may have forgotten it, and the table too."""
    store = await written()

    async def reports() -> int:
        return sum(message.subject == "node.me.network" for message in await everything(store, NODE))

    async with reconciled(node, store, reached=lambda: LOG) as routes:
        reporting = keep_reported(
            store,
            lambda: routes.network and node_network("me", routes.network),
            routes.network_changed,
            lambda: routes.listings,
        )
        async with running(reporting):
            while await reports() < 1:
                await asyncio.sleep(0.01)
            await say(store, removed("me"))
            await until(lambda: not routes.state.listed)
            await say(store, PAIR[0])
            while await reports() < 2:
                await asyncio.sleep(0.01)
    assert await reports() == 2
