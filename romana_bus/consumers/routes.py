"""The routes reconciler: a route to each block of another host that is on-link from this node, by netlink.

Reads the map of hosts and blocks (IPAM). Writes routes and nexthop objects into the kernel, in the network
namespace in which it was opened. It owns routes of protocol 82 in the main table, and nexthops with ids from
0x52000000 on; it neither changes nor removes others. Recovers by a full resync: a dump of its own routes,
compared with the desired ones. Correct routes stay untouched, so a restart changes nothing. A removed route,
and a change of a link or an address, trigger a resync at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from romana_bus.events import IPAM
from romana_bus.netlink.fib import Forwarding
from romana_bus.netlink.monitor import Monitor, Stale
from romana_bus.routing import Kernel, State, evolve, plan, standing
from romana_bus.runtime.consumer import Reconciler, ResyncTrigger
from romana_bus.runtime.feed import Read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from romana_bus.routing import Address, Delta

NAME, READS = "routes", (Read(IPAM, "ipam.map.>"),)


class Routes:
    """The reconciler of one node, and its state for the agent."""

    def __init__(self, node: str, forwarding: Forwarding, monitor: Monitor) -> None:
        self.node = node
        self.state, self.kernel = State(node), Kernel()
        self._forwarding, self._monitor = forwarding, monitor
        self._resync = ResyncTrigger()
        self._stale, self._read = Stale(all=True), False
        #: How many blocks this node has; the last known number if the log does not know the node.
        self.own_blocks = 0

    def standing(self) -> dict[str, int]:
        return standing(self.state, self.kernel)

    def reconciler(self, tick: float = 60.0) -> Reconciler[State]:
        return Reconciler(
            name=NAME,
            node=self.node,
            reads=READS,
            initial=self._initial,
            evolve=evolve,
            observe=self._observe,
            plan=plan,
            apply=self._apply,
            standing=lambda state: standing(state, self.kernel),
            resync=self._resync,
            tick=tick,
        )

    def read_notifications(self) -> None:
        """Read the monitor's notifications, and request a resync if they may concern our routes."""
        self._stale |= self._monitor.take()
        if self._stale:
            self._resync.request()

    def _initial(self) -> State:
        self.state = State(self.node)
        self._stale |= Stale(all=True)  # addresses that were removed meanwhile were not noticed
        return self.state

    async def _observe(self, state: State, full: bool) -> Kernel:
        kernel = self.kernel
        if state.known:
            self.own_blocks = state.own_blocks
        self._forget_left_addresses(state)
        if full or not self._read:
            stale, self._stale = self._stale | self._monitor.take(), Stale()
            try:
                await self._look_up(self._stale_addresses(state, stale))
                for _ in self._forwarding.read(kernel):
                    await asyncio.sleep(0)
            except BaseException:
                self._stale |= stale
                raise
            self._read = True
        await self._look_up(
            [address for address in state.addresses(state.touched) if address not in kernel.links]
        )
        return kernel

    def _forget_left_addresses(self, state: State) -> None:
        """Forget the lookups of addresses that a host no longer has: they are not kept up to date. If a host
        has one of them again, it is looked up again."""
        if state.left:
            self.kernel.forget_links(state.left)
            state.touch_where(state.left)
            state.left.clear()

    def _stale_addresses(self, state: State, stale: Stale) -> list[Address]:
        """The addresses to which the kernel's route may have changed."""
        if not stale.all and not stale.prefixes:
            return []
        addresses = state.addresses(state.hosts)
        if stale.all:
            self.kernel.forget_links_but(addresses)
            return addresses
        return [
            (width, value)
            for width, value in addresses
            for prefix in stale.prefixes
            if width == prefix.width and prefix.base <= value < prefix.end
        ]

    async def _look_up(self, addresses: list[Address]) -> None:
        for answers in self._forwarding.ask(addresses):
            if changed := self.kernel.answer(answers):
                self.state.touch_where(changed)
            await asyncio.sleep(0)

    async def _apply(self, delta: Delta) -> int:
        changes = 0
        try:
            for changed in self._forwarding.apply(delta, self.kernel):
                changes += changed
                await asyncio.sleep(0)
        except BaseException:
            self._stale |= Stale(all=True)
            raise
        return changes


@contextlib.asynccontextmanager
async def opened(node: str, *, objects: bool | None = None) -> AsyncIterator[Routes]:
    """The reconciler for this thread's network namespace. `objects`: False uses no nexthop objects, even if
    the kernel has them. Raises OSError if the kernel refuses a socket."""
    loop = asyncio.get_running_loop()
    with Forwarding(objects) as forwarding, Monitor(forwarding.port) as monitor:
        routes = Routes(node, forwarding, monitor)
        loop.add_reader(monitor.fileno(), routes.read_notifications)
        try:
            yield routes
        finally:
            loop.remove_reader(monitor.fileno())
