"""Routes by netlink: each block of another host that is on-link from here leads through that host.

Reads the map of hosts and blocks (IPAM). Writes routes and nexthop objects into the kernel of the network
namespace that it was opened in, and owns there: routes of protocol 82 in the main table, and nexthops of
ids from 0x52000000 on. Whatever else is there it neither changes nor removes. Recovers by a full look: a
dump of what is ours, held against what the log wants; what is right already stays untouched, so a restart
changes nothing. A route that somebody removes, a link or an address that changes wakes it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from romana_bus.events import IPAM
from romana_bus.netlink.fib import Forwarding
from romana_bus.netlink.monitor import Monitor, Seen
from romana_bus.routing import Kernel, State, evolve, plan, standing
from romana_bus.runtime.consumer import Reconciler, ResyncTrigger
from romana_bus.runtime.feed import Read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from romana_bus.routing import Address, Delta

NAME, READS = "routes", (Read(IPAM, "ipam.map.>"),)


class Routes:
    """The reconciler, with what the agent wants to know of it."""

    def __init__(self, node: str, forwarding: Forwarding, monitor: Monitor) -> None:
        self.node = node
        self.state, self.kernel = State(node), Kernel()
        self._forwarding, self._monitor = forwarding, monitor
        self._resync = ResyncTrigger()
        self._seen, self._read = Seen(all=True), False  # nothing was looked at yet
        #: How many blocks this node has, as far as the log knows the node: one that was lost takes none away.
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

    def heard(self) -> None:
        """The monitor has something to tell."""
        self._seen |= self._monitor.take()
        if self._seen:
            self._resync.request()

    def _initial(self) -> State:
        self.state = State(self.node)
        self._seen |= Seen(all=True)  # who left while there was no state was not noticed
        return self.state

    async def _observe(self, state: State, full: bool) -> Kernel:
        kernel = self.kernel
        if state.known:
            self.own_blocks = state.own_blocks
        self._forget_who_left(state)
        if full or not self._read:
            seen, self._seen = self._seen | self._monitor.take(), Seen()
            try:
                await self._ask(self._doubtful(state, seen))
                for _ in self._forwarding.read(kernel):
                    await asyncio.sleep(0)
            except BaseException:
                self._seen |= seen
                raise
            self._read = True
        await self._ask([one for one in state.addresses(state.touched) if one not in kernel.links])
        return kernel

    def _forget_who_left(self, state: State) -> None:
        """Nobody keeps up what the kernel said of an address that no host has: when it comes back, or
        where another host has it, it is asked again."""
        if state.left:
            self.kernel.forget_links(state.left)
            state.touch_where(state.left)
            state.left.clear()

    def _doubtful(self, state: State, seen: Seen) -> list[Address]:
        """The addresses to which the kernel's way may be another now."""
        if not seen.all and not seen.prefixes:
            return []
        addresses = state.addresses(state.hosts)
        if seen.all:
            self.kernel.forget_links_but(addresses)
            return addresses
        return [
            (width, value)
            for width, value in addresses
            for prefix in seen.prefixes
            if width == prefix.width and prefix.base <= value < prefix.end
        ]

    async def _ask(self, addresses: list[Address]) -> None:
        for answers in self._forwarding.ask(addresses):
            if news := self.kernel.answer(answers):
                self.state.touch_where(news)
            await asyncio.sleep(0)

    async def _apply(self, delta: Delta) -> int:
        changes = 0
        try:
            for made in self._forwarding.apply(delta, self.kernel):
                changes += made
                await asyncio.sleep(0)
        except BaseException:
            self._seen |= Seen(all=True)
            raise
        return changes


@contextlib.asynccontextmanager
async def opened(node: str, *, objects: bool | None = None) -> AsyncIterator[Routes]:
    """In this thread's network namespace. `objects`: False does without nexthop objects even where the
    kernel has them. Raises OSError where it lets us have no socket."""
    loop = asyncio.get_running_loop()
    with Forwarding(objects) as forwarding, Monitor(forwarding.port) as monitor:
        routes = Routes(node, forwarding, monitor)
        loop.add_reader(monitor.fileno(), routes.heard)
        try:
            yield routes
        finally:
            loop.remove_reader(monitor.fileno())
