"""The reconciler of pods' links: what others change on the node's side of them, and the node's forwarding, is
made right. Sandboxes that are gone are released (`missing_links.py`).

Desired is what the attachments say; actual, a dump of the kernel. It looks when the kernel reports that
something was taken from a link, or a link went without a call, and every minute, since the kernel does not
report everything. It needs no log. It waits for no call of the container runtime and disturbs none: a link
for which one runs is left to it; for the others, calls wait until the link is mended. Links that do not exist
are not made.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics, tasks
from romana_bus.cni.link import drift, mend
from romana_bus.cni.server import missing_links, results
from romana_bus.cni.server.missing_links import MissingLinks
from romana_bus.netlink.removals import Removals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from romana_bus.cni.link.drift import Address, Delta, Drift, Wanted
    from romana_bus.cni.link.sysctls import NodeSysctls
    from romana_bus.cni.server.attachments import Attachment, Attachments
    from romana_bus.cni.server.commands import Commands
    from romana_bus.cni.server.threads import Threads

log = structlog.get_logger(__name__)

#: Seconds between two looks; after something was refused; and after a look that failed, or left a link to a
#: call that was running.
EVERY, REFUSED, AGAIN = 60.0, 5.0, 0.5
#: Seconds from a notification to the look: a DEL deletes its link within one millisecond.
SETTLE = 0.01
#: After a look nothing is looked at for so many times what it took, or for a second: if others change links
#: all the time, that takes a fifth of a core at most.
PAUSES, LONGEST_PAUSE = 5, 1.0
#: How many links one pass names in the log.
NAMED = 5


def wanted(
    attachments: Iterable[Attachment], needs: Callable[[str], str]
) -> dict[str, tuple[Attachment, Wanted]]:
    """The links that should exist, by name. `attachments`: the oldest first. An address that several have is
    routed to the newest: it has taken the route over. `needs`: what an address is to the node itself, or '':
    no route to such an address is restored. Pure."""
    owner: dict[Address, str] = {}
    links = {}
    for attachment in attachments:
        if attachment.addresses:
            veth = results.veth_of(attachment)
            routable = [not needs(text) for text in attachment.addresses]
            owner.update(dict.fromkeys(itertools.compress(veth.addresses, routable), veth.host))
            links[veth.host] = attachment, veth
    return {
        host: (
            attachment,
            drift.Wanted(veth, tuple(each for each in veth.addresses if owner.get(each) == host)),
        )
        for host, (attachment, veth) in links.items()
    }


class LinkReconciler:
    """`refused`: what the kernel refused at the last look, or why that failed; '' if all is well."""

    def __init__(
        self,
        attachments: Attachments,
        commands: Commands,
        threads: Threads,
        node_sysctls: NodeSysctls,
        needs: Callable[[str], str],
        removals: Removals,
    ) -> None:
        self._attachments, self._commands, self._threads = attachments, commands, threads
        self._node_sysctls, self._needs, self._removals = node_sysctls, needs, removals
        self._noticed = asyncio.Event()
        self._missing, self._left = MissingLinks(commands, threads), False
        self.refused = ""

    def read_notifications(self) -> None:
        """Read what the kernel reports, and look soon if it concerns links or forwarding."""
        if self._pending():
            self._noticed.set()

    def _pending(self) -> bool:
        """Whether something was taken from a link that exists, or a link went without a call."""
        taken, links = self._removals.take(), self._attachments.of_links()
        gone = [links[name].attached for name in self._removals.take_deleted() if name in links]
        self._left |= not all(map(self._commands.locks.is_busy, gone))
        return taken or self._left

    async def run(self) -> None:
        """Look at the start, when something is noticed, and every minute, until cancelled."""
        while True:
            started = tasks.monotonic()
            self._removals.clear()
            self._left = False
            due = started + await self._look(started)
            await asyncio.sleep(min(LONGEST_PAUSE, PAUSES * (tasks.monotonic() - started)))
            await self._until(due)

    async def _until(self, due: float) -> None:
        """Until the next look is due, or the kernel has reported something."""
        while (left := due - tasks.monotonic()) > 0:
            await tasks.until_set(self._noticed, left)
            if self._noticed.is_set():
                self._noticed.clear()
                await asyncio.sleep(SETTLE)
                if self._pending():
                    return

    async def _look(self, now: float) -> float:
        """Returns the seconds until the next look is due."""
        try:
            # ip_forward comes first: the kernel sets that of every link with it.
            await self._threads.run(self._node_sysctls.review, self._attachments.have_six)
            refused, busy = await self._mended(now)
        except Exception as error:  # noqa: BLE001  whatever it is, the next look may succeed
            self._refuse([str(error) or type(error).__name__])
            return AGAIN
        self._refuse(refused)
        due = AGAIN if busy else REFUSED if refused else EVERY
        return min(due, missing_links.CONFIRM) if self._missing.doubted else due

    async def _mended(self, now: float) -> tuple[list[str], bool]:
        """Mend what is wrong; returns what was refused, and whether a link was left to a running call.
        Raises OSError, Interrupted."""
        links, delta = await self._planned()
        failures = await self._missing.look([links[host][0] for host in delta.gone], now)
        if not delta:
            return failures, False
        drifted = {links[each.veth.host][0].attached for each in delta.drifts}
        async with self._commands.locks.idle(drifted) as idle:
            links, delta = await self._planned()  # a call may have ended since, with another result
            drifts = [each for each in delta.drifts if links[each.veth.host][0].attached in idle]
            refused = await self._threads.run(mend.apply, drifts)
        self._tell_mended(links, [each for each in drifts if each.veth.host not in refused])
        failures += sorted(text for texts in refused.values() for text in texts)
        return failures, idle != drifted

    async def _planned(self) -> tuple[dict[str, tuple[Attachment, Wanted]], Delta]:
        """The links that should exist now, compared with the kernel. Raises OSError, Interrupted."""
        actual = await self._threads.run(mend.read)
        links = wanted(self._attachments.by_age(), self._needs)
        return links, drift.plan([each for _, each in links.values()], actual)

    # --- what is told -----------------------------------------------------------------------------------

    def _tell_mended(self, links: dict[str, tuple[Attachment, Wanted]], drifts: list[Drift]) -> None:
        for number, each in enumerate(drifts):
            for kind in each.kinds:
                metrics.MENDED.labels(kind).inc()
            if number < NAMED:
                pod, host = str(links[each.veth.host][0].pod), each.veth.host
                log.warning("the link of a pod was changed: mended", pod=pod, link=host, found=each.texts)
        if len(drifts) > NAMED:
            log.warning("the links of more pods were changed: mended", links=len(drifts) - NAMED)

    def _refuse(self, texts: list[str]) -> None:
        refused = "; ".join(texts[:NAMED]) + ("; ..." if len(texts) > NAMED else "")
        if refused and refused != self.refused:
            log.error("links of pods could not be mended", why=refused)
        self.refused = refused


@contextlib.asynccontextmanager
async def running(
    attachments: Attachments,
    commands: Commands,
    threads: Threads,
    node_sysctls: NodeSysctls,
    needs: Callable[[str], str],
) -> AsyncIterator[LinkReconciler]:
    """The reconciler for this thread's network namespace, running. Raises OSError if the kernel refuses a
    socket."""
    loop = asyncio.get_running_loop()
    with Removals() as removals:
        reconciler = LinkReconciler(attachments, commands, threads, node_sysctls, needs, removals)
        loop.add_reader(removals.fileno(), reconciler.read_notifications)
        task = asyncio.create_task(reconciler.run())
        try:
            yield reconciler
        finally:
            loop.remove_reader(removals.fileno())
            await tasks.stop(task)
