"""What on this node keeps packets of pods from their ways: told on the log, in /readyz, and by `status`.

Looks at what others have set up (`netlink/foreign`) every minute, and at once when an ip rule has changed.
The kernel would also report changes of nftables, but then builds a message for each rule of each service that
kube-proxy changes. Nothing of others is changed. The node stays ready: rules that are not read may accept
what a policy drops.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from romana_bus import tasks
from romana_bus.events import NodeChecked
from romana_bus.netlink.constants import RULE_GROUPS
from romana_bus.netlink.foreign.read import read
from romana_bus.netlink.notifications import EVERYTHING, Notifications
from romana_bus.netlink.socket import Interrupted
from romana_bus.routing.obstacles import obstacles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from romana_bus.cni.link.sysctls import NodeSysctls
    from romana_bus.cni.server.threads import Threads
    from romana_bus.consumers.routes import Routes
    from romana_bus.inet import Prefix
    from romana_bus.routing.obstacles import Obstacle

log = structlog.get_logger(__name__)

#: Seconds between two looks; and while the map of hosts, which has the prefixes of pods, was not read.
EVERY, UNREAD = 60.0, 1.0
#: Seconds from a notification to the look: whoever changes rules changes several.
SETTLE = 0.1


class NodeCheck:
    """`found`: what is in the way; None before the first look. `changed` is set when it is something else."""

    def __init__(self, node: str, routes: Routes, node_sysctls: NodeSysctls, threads: Threads) -> None:
        self._node, self._routes = node, routes
        self._node_sysctls, self._threads = node_sysctls, threads
        self._noticed = asyncio.Event()
        self._failure = ""
        self.found: list[Obstacle] | None = None
        self.changed = asyncio.Event()

    def warnings(self) -> list[str]:
        """What /readyz shows."""
        failure = [f"what others have set up on the node: {self._failure}"] if self._failure else []
        return [*map(str, self.found or ()), *failure]

    def report(self) -> NodeChecked | None:
        """For the log; with the sysctls, which are set or told elsewhere."""
        if self.found is None:
            return None
        problems = [str(each) for each in self.found if not each.is_note]
        return NodeChecked(
            node=self._node,
            consumer="node",
            problems=(*self._node_sysctls.problems, *self._node_sysctls.warnings, *problems),
            notes=tuple(str(each) for each in self.found if each.is_note),
        )

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self._noticed.clear()
            if self._routes.state.known:
                await self._look(self._routes.state.pods)
            # A look asks every block for its way, so a node without a place is not looked at more often.
            await tasks.until_set(self._noticed, EVERY if self._routes.state.known else UNREAD)
            if self._noticed.is_set():
                await asyncio.sleep(SETTLE)

    def notice(self, notifications: Notifications) -> None:
        """Look soon, since rules have changed."""
        for _ in notifications.reads():
            self._noticed.set()

    async def _look(self, pods: tuple[Prefix, ...]) -> None:
        try:
            foreign = await self._threads.run(read)
        except (OSError, Interrupted) as error:
            self._failure = str(error)
            return
        self._failure = ""
        by_default = self._routes.standing()["blocks by default route"]
        found, before = obstacles(foreign, pods, by_default), self.found or []
        for each in found:
            if each not in before:
                tell = log.info if each.is_note else log.warning
                tell("packets of pods may not get through", why=str(each))
        for each in before:
            if each not in found:
                log.info("no longer in the way of pods' packets", was=each.found)
        if found != self.found:
            self.found = found
            self.changed.set()


@contextlib.asynccontextmanager
async def running(
    node: str, routes: Routes, node_sysctls: NodeSysctls, threads: Threads
) -> AsyncIterator[NodeCheck]:
    """The check of this thread's network namespace, running. Raises OSError if the kernel refuses a
    socket."""
    loop = asyncio.get_running_loop()
    with Notifications(EVERYTHING, RULE_GROUPS) as notifications:
        check = NodeCheck(node, routes, node_sysctls, threads)
        loop.add_reader(notifications.fileno(), check.notice, notifications)
        task = asyncio.create_task(check.run())
        try:
            yield check
        finally:
            loop.remove_reader(notifications.fileno())
            await tasks.stop(task)
