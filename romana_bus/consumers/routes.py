"""The routes reconciler: a route to each block of another host that is on-link from this node, by netlink.

Reads the map of hosts and blocks (IPAM). Writes routes and nexthop objects into the kernel, in the network
namespace in which it was opened. It owns routes of protocol 82 in the main table, and nexthops with ids from
0x52000000 on; it neither changes nor removes others. Recovers by a full resync: a dump of its own routes,
compared with the desired ones. Correct routes stay untouched, so a restart changes nothing. A removed route,
and a change of a link or an address, trigger a resync at once.

With each resync it also reads what the node lives on, and neither installs nor keeps a route that would take
that away, whatever the log says (`routing/routes/guard.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from romana_bus import tasks
from romana_bus.events import IPAM
from romana_bus.netlink.fib import Forwarding
from romana_bus.netlink.monitor import Monitor, Stale
from romana_bus.netlink.node_network import Reached
from romana_bus.routing import Kernel, State, derive, evolve, plan, plan_withdrawal, refused, standing
from romana_bus.runtime.consumer import Reconciler, ResyncTrigger
from romana_bus.runtime.feed import Read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from romana_bus.inet import Prefix
    from romana_bus.routing import Address, Delta, Network

log = structlog.get_logger(__name__)

#: Seconds after which a node that the map does not list counts as unknown: a new node is listed sooner.
UNKNOWN_AFTER = 30.0
NAME, READS = "routes", (Read(IPAM, "ipam.map.>"),)
#: How many refused routes a report and a line of the log name.
NAMED = 10


class Routes:
    """The reconciler of one node, and its state for the agent. `reached`: where the log and the API server
    are now. `network`: what the node lives on, as of the last resync; `listings`: how often the map has
    listed this node anew since the start; `network_changed` is set when one of them has changed."""

    def __init__(
        self, node: str, forwarding: Forwarding, monitor: Monitor, reached: Callable[[], Reached] = Reached
    ) -> None:
        self.node = node
        self.state, self.kernel = State(node), Kernel()
        self.network: Network | None = None
        self.listings = 0
        self.network_changed = asyncio.Event()
        self._forwarding, self._monitor, self._reached = forwarding, monitor, reached
        self._told: dict[Prefix, str] = {}  # the refused routes that were logged
        self._resync = ResyncTrigger()
        self._stale, self._read = Stale(all=True), False
        #: How many blocks this node has; the last known number if the log does not know the node.
        self.own_blocks = 0
        self._unlisted_since: float | None = None  # since then the map that was read does not list this node

    @property
    def unknown(self) -> bool:
        """Whether the map was read, and has not listed this node for some time."""
        since = self._unlisted_since
        return since is not None and tasks.monotonic() - since >= UNKNOWN_AFTER

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
            refused=lambda state: {str(prefix): why for prefix, why in _first(refused(state))},
            resync=self._resync,
            tick=tick,
        )

    def read_notifications(self) -> None:
        """Read the monitor's notifications, and request a resync if they may concern our routes."""
        self._stale |= self._monitor.take()
        if self._stale:
            self.resync()

    def resync(self) -> None:
        """Request a resync."""
        self._resync.request()

    async def withdraw_refused(self) -> None:
        """Remove the routes that would take away what the node lives on. For the time without a log, in which
        the reconciler does not run. Raises OSError, Interrupted, Unapplied."""
        self.read_network()
        for _ in self._forwarding.read(self.kernel):
            await asyncio.sleep(0)
        if delta := plan_withdrawal(self.kernel):
            prefixes = [*(route for route, _ in delta.removed), *delta.reachable]
            log.warning(
                "routes that would take away what this node lives on are removed, without the log",
                routes={str(prefix): self.kernel.guard.refuses(prefix) for prefix in prefixes[:NAMED]},
                count=len(prefixes),
            )
            await self._apply(delta)

    def read_network(self) -> None:
        """Read what the node lives on. Raises OSError, Interrupted."""
        network = self._forwarding.network(self._reached())
        if self.kernel.set_network(network):
            self.state.touch_all()
        if network != self.network:
            self.network = network
            self.network_changed.set()

    def _initial(self) -> State:
        self.state = State(self.node)
        self._stale |= Stale(all=True)  # addresses that were removed meanwhile were not noticed
        return self.state

    async def _observe(self, state: State, full: bool) -> Kernel:
        kernel = self.kernel
        if state.known:
            self.own_blocks = state.own_blocks
        if state.listed:
            if self._unlisted_since is not None:
                self._unlisted_since = None
                self.listings += 1
                self.network_changed.set()
        elif self._unlisted_since is None:
            self._unlisted_since = tasks.monotonic()
        self._forget_left_addresses(state)
        if full or not self._read:
            stale, self._stale = self._stale | self._monitor.take(), Stale()
            try:
                self.read_network()
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
        derive(state, kernel)
        self._log_refused(state)
        return kernel

    def _log_refused(self, state: State) -> None:
        """Log the refused routes if they are others than before."""
        if not state.refused and not self._told:
            return
        now, before = refused(state), self._told
        if new := {prefix: why for prefix, why in now.items() if before.get(prefix) != why}:
            log.warning(
                "routes are refused: they would take away what this node lives on",
                routes={str(prefix): why for prefix, why in _first(new)},
                count=len(new),
            )
        if gone := [prefix for prefix in before if prefix not in now]:
            log.info("routes are no longer refused", routes=[*map(str, gone[:NAMED])], count=len(gone))
        self._told = now

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


def _first(refused: dict[Prefix, str]) -> list[tuple[Prefix, str]]:
    return [*refused.items()][:NAMED]


@contextlib.asynccontextmanager
async def opened(
    node: str, reached: Callable[[], Reached] = Reached, *, objects: bool | None = None
) -> AsyncIterator[Routes]:
    """The reconciler for this thread's network namespace. `objects`: False uses no nexthop objects, even if
    the kernel has them. Raises OSError if the kernel refuses a socket."""
    loop = asyncio.get_running_loop()
    with Forwarding(objects) as forwarding, Monitor(forwarding.port) as monitor:
        routes = Routes(node, forwarding, monitor, reached)
        loop.add_reader(monitor.fileno(), routes.read_notifications)
        try:
            yield routes
        finally:
            loop.remove_reader(monitor.fileno())
