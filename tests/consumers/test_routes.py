"""The routes of a node, from the log to the kernel of a namespace, through everything that goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.auth.permissions import agent_of
from romana_bus.bus.memory import MemoryStore
from romana_bus.events import IPAM, NODE, ROLES, Applied, ApplyFailed, codec
from romana_bus.inet import parse_address, parse_prefix
from romana_bus.netlink.messages import attributes, messages
from romana_bus.netlink.routes import get_route
from romana_bus.netlink.socket import Socket
from tests.consumers.reconciling import TO_YOU, reconciled, say, until, ways
from tests.kernel import BLOCKS
from tests.netns import Namespace, needs_namespaces
from tests.routing.routes.hosts_and_blocks import PAIR, block, placed, removed
from tests.runtime.small_consumers import everything

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from romana_bus.bus.api import Store
    from romana_bus.consumers import routes
    from romana_bus.events import Event

    Stores = Callable[..., AbstractAsyncContextManager[Store]]

pytestmark = needs_namespaces
both = pytest.mark.parametrize("stores", ["memory", "nats"], indirect=True)
_clusters = itertools.count(1)


@both
async def test_routes_reach_the_kernel_and_are_reported(stores: Stores, node: Namespace) -> None:
    async with stores() as store, stores(agent_of("me")) as agent:
        await say(store, *PAIR)
        async with reconciled(node, agent) as kernel:
            await until(lambda: ways(node) == TO_YOU)
            assert kernel.own_blocks == 1
            await say(store, block("you", "10.1.2.0/28"))
            await until(lambda: "10.1.2.0/28" in ways(node))
            await say(store, removed("you"))
            await until(lambda: ways(node) == {} and not node.nexthops())
        reports = [codec.decode(one.body) for one in await everything(store, NODE)]
        assert all(isinstance(one, Applied) for one in reports)
        last = reports[-1]
        assert isinstance(last, Applied)
        assert (last.node, last.consumer, last.covers) == ("me", "routes", {IPAM: 8})
        assert last.standing["routes"] == 0
        assert last.standing["unreachable"] == 2
        assert sum(one.changes for one in reports if isinstance(one, Applied)) == 7 + 1 + 6


@pytest.mark.parametrize("objects", [True, False])
async def test_removed_route_is_restored_at_once(node: Namespace, objects: bool) -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, *PAIR)
    async with reconciled(node, store, objects):
        await until(lambda: ways(node) == TO_YOU)
        node.ip("route", "del", "10.1.0.16/28")
        await until(lambda: ways(node) == TO_YOU)
        node.ip("-6", "route", "del", "fd01::10/124", "proto", "82")
        await until(lambda: ways(node) == TO_YOU)
        node.ip("nexthop", "flush")
        await until(lambda: ways(node) == TO_YOU)
        node.ip("route", "add", "10.66.0.0/24", "via", "10.99.0.2", "proto", "82", "metric", "8200")
        await until(lambda: ways(node) == TO_YOU)  # with our mark it is ours to remove


@pytest.mark.parametrize("objects", [True, False])
async def test_routes_after_link_down_and_address_removal(node: Namespace, objects: bool) -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, *PAIR)
    v4 = {route: via for route, via in TO_YOU.items() if ":" not in route}
    async with reconciled(node, store, objects) as kernel:
        await until(lambda: ways(node) == TO_YOU)
        node.ip("link", "set", "eth0", "down")
        await until(lambda: kernel.standing()["hosts off link"] == 1)
        assert ways(node) == {}
        node.ip("link", "set", "eth0", "up")
        await until(lambda: ways(node) == v4)  # the kernel took the IPv6 address with the link
        node.ip("address", "add", "fd99::1/64", "dev", "eth0", "nodad")
        await until(lambda: ways(node) == TO_YOU)
        node.ip("address", "del", "10.99.0.1/16", "dev", "eth0")
        await until(lambda: ways(node).keys() == {"fd01::10/124"})
        node.ip("address", "add", "10.99.0.44/16", "dev", "eth0")
        await until(lambda: ways(node) == TO_YOU)


async def test_host_on_link_through_a_foreign_route(node: Namespace) -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, *PAIR, placed("far", "192.0.2.9"), block("far", "10.2.0.0/28"))
    async with reconciled(node, store) as kernel:
        await until(lambda: ways(node) == TO_YOU)
        assert kernel.standing()["blocks by default route"] == 1
        node.ip("route", "add", "192.0.2.0/24", "dev", "eth0")
        await until(lambda: ways(node) == TO_YOU | {"10.2.0.0/28": "192.0.2.9"})
        node.ip("route", "del", "192.0.2.0/24", "dev", "eth0")
        await until(lambda: ways(node) == TO_YOU)


@pytest.mark.parametrize("gone", [removed("far"), placed("far", "192.0.2.7")], ids=["removed", "moved"])
async def test_returning_host_is_looked_up_again(node: Namespace, gone: Event) -> None:
    """Meanwhile its address has come on-link."""
    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, *PAIR, placed("far", "10.50.0.5"), block("far", "10.2.0.0/28"))
    node.ip("route", "add", "10.50.0.0/24", "via", "10.99.0.77")
    async with reconciled(node, store) as kernel:
        await until(lambda: ways(node) == TO_YOU and kernel.standing()["hosts off link"] == 1)
        await say(store, gone, block("you", "10.1.9.0/28"))
        await until(lambda: "10.1.9.0/28" in ways(node))
        node.ip("route", "replace", "10.50.0.0/24", "dev", "eth0")
        node.ip("route", "del", "10.1.9.0/28", "proto", "82")
        await until(lambda: "10.1.9.0/28" in ways(node))  # it has looked
        await say(store, placed("far", "10.50.0.5"))
        await until(lambda: ways(node).get("10.2.0.0/28") == "10.50.0.5")


async def test_a_changed_address_of_a_host_is_one_nexthop_message(node: Namespace) -> None:
    """Counted by somebody who hears everything; the kernel is told not to repeat the routes for those who
    know no nexthop objects."""
    node.run("sysctl", "-qw", "net.ipv4.nexthop_compat_mode=0")

    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, *PAIR, *(block("you", f"10.1.{at}.0/28") for at in range(2, 100)))
    async with reconciled(node, store):
        await until(lambda: len(node.routes(BLOCKS)) == 3 + 98 + 2)
        with node.inside(lambda: Socket(within=0)) as everything_heard:
            for group in (7, 11, 32):  # routes of both families, nexthops
                everything_heard.join(group)
            await say(store, placed("you", "10.99.0.7", "fd99::2"))
            await until(lambda: "10.99.0.7" in {one["gateway"] for one in node.nexthops().values()})
            assert heard(everything_heard) == [104]  # RTM_NEWNEXTHOP
        assert node.gateway_to("10.1.50.1") == "10.99.0.7"


def heard(listener: Socket) -> list[int]:
    """The types of all notifications since; the kernel delivers them before a change is acknowledged."""
    kinds = []
    with contextlib.suppress(BlockingIOError):
        while True:
            kinds += [kind for kind, *_ in messages(listener._socket.recv(1 << 16))]
    return kinds


async def test_a_block_that_moves_is_reachable_all_the_time(node: Namespace) -> None:
    """The kernel's route lookup for the block is sampled all the time."""

    def gateway(answer: Any) -> bytes:
        found = [answer[first:last] for kind, first, last in attributes(answer, 28, len(answer)) if kind == 5]
        return found[0] if found else b""

    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, *PAIR, placed("they", "10.99.0.3", "fd99::3"), block("they", "10.1.4.0/28"))
    async with reconciled(node, store) as kernel:
        await until(lambda: ways(node) == TO_YOU | {"10.1.4.0/28": "10.99.0.3"})
        asking = node.inside(Socket)
        stop = asyncio.Event()
        seen: set[bytes] = set()

        def ask() -> None:
            questions = [get_route(*parse_address("10.1.0.17")), get_route(*parse_address("fd01::11"))]
            while not stop.is_set():
                seen.update(gateway(answer) for answer in asking.ask(questions))

        with asking:
            asked = asyncio.get_running_loop().run_in_executor(None, ask)
            for turn in range(2, 40):
                to = ("you", "they")[turn % 2]
                await say(store, block(to, "10.1.0.16/28", turn), block(to, "fd01::10/124", turn))
                await until(functools.partial(leads, kernel, "10.1.0.16/28", f"10.99.0.{2 + turn % 2}"))
            stop.set()
            await asked
        hosts = ("10.99.0.2", "10.99.0.3", "fd99::2", "fd99::3")
        packed = {parse_address(one)[1].to_bytes(16 if ":" in one else 4, "big") for one in hosts}
        assert seen == packed


def leads(kernel: routes.Routes, prefix: str, to: str) -> bool:
    number = kernel.kernel.routes.get(parse_prefix(prefix), 0)
    return kernel.kernel.nexthops[number][:2] == parse_address(to)


async def test_refused_route_is_reported_and_retried(node: Namespace) -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, *PAIR[:2])
    async with reconciled(node, store) as kernel:
        await until(lambda: len(node.routes(BLOCKS)) == 2)
        kernel.kernel.links[parse_address("192.0.2.9")] = 2  # what the kernel said before it changed
        await say(store, placed("bad", "192.0.2.9"), block("bad", "10.3.0.0/28"), *PAIR[2:])
        await until(lambda: ways(node) == TO_YOU)
        await until(lambda: kernel.standing()["hosts off link"] == 1)  # looked again, and knows better
        while not isinstance(codec.decode((await everything(store, NODE))[-1].body), Applied):
            await asyncio.sleep(0.001)
    said = [codec.decode(one.body) for one in await everything(store, NODE)]
    [failed] = [one for one in said if isinstance(one, ApplyFailed)]
    assert "10.3.0.0/28" in failed.error
    assert failed.covers == {IPAM: 8}
    assert isinstance(said[-1], Applied)


async def test_foreign_nexthop_id_in_our_range_is_left_alone(node: Namespace) -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    node.ip("nexthop", "add", "id", str(0x52000000), "blackhole")
    await say(store, *PAIR)
    async with reconciled(node, store):
        await until(lambda: ways(node) == TO_YOU)
        assert "blackhole" in node.nexthops()[0x52000000]


async def test_monitor_overrun_causes_a_full_resync(node: Namespace, monkeypatch: Any) -> None:
    store = MemoryStore()
    await store.prepare(ROLES)
    await say(store, *PAIR)
    async with reconciled(node, store):
        await until(lambda: ways(node) == TO_YOU)
        batch = "".join(f"route add 10.200.{at >> 8}.{at & 255}/32 dev eth0\n" for at in range(9000))
        removal = "route del 10.1.0.16/28\n"
        subprocess.run(
            ["ip", "netns", "exec", node.name, "ip", "-batch", "-"],
            input=(batch + removal).encode(),
            check=True,
        )  # while our thread stands still: more than the socket has room for
        await until(lambda: ways(node) == TO_YOU)
