"""Links that attachments name and the kernel does not have: the leaks of a node.

The kernel deletes a link with the pod's network namespace. If both are gone and no DEL came, the sandbox is
released as a DEL would: few runtimes call GC. It takes two looks, CONFIRM seconds apart, since a DEL may be
on its way. If only the link is gone, its pod may run, and needs a new sandbox: that is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics
from romana_bus.cni.link import check

if TYPE_CHECKING:
    from romana_bus.cni.server.attachments import Attachment
    from romana_bus.cni.server.commands import Commands
    from romana_bus.cni.server.threads import Threads
    from romana_bus.cni.spec import Attached

log = structlog.get_logger(__name__)

#: Seconds between the two looks at a sandbox that is gone: runtimes end a sandbox within some seconds.
CONFIRM = 10.0


class MissingLinks:
    """What earlier looks have found. `commands`: releases sandboxes, and knows for which a call runs."""

    def __init__(self, commands: Commands, threads: Threads) -> None:
        self._commands, self._threads = commands, threads
        self._lost: dict[Attached, float] = {}  # since when
        self._linkless: dict[Attached, int] = {}  # in how many looks in a row

    @property
    def doubted(self) -> bool:
        """Whether a sandbox has to be looked at again, in CONFIRM seconds."""
        return bool(self._lost)

    async def look(self, missing: list[Attachment], now: float) -> list[str]:
        """Release sandboxes that are gone for the second time. `missing`: those whose link a look at `now`
        (monotonic seconds) did not find. Returns what failed, as texts. Raises OSError."""
        idle = [each for each in missing if not self._commands.locks.is_busy(each.attached)]
        lost = await self._threads.run(_lost, idle) if idle else []
        self._lost = {each.attached: self._lost.get(each.attached, now) for each in lost}
        self._tell([each for each in idle if each.attached not in self._lost])
        return [text for each in lost if now - self._lost[each.attached] >= CONFIRM
                for text in await self._release(each)]  # fmt: skip

    async def _release(self, lost: Attachment) -> list[str]:
        """Returns why it failed, if it did."""
        try:
            released = await self._commands.release(lost)
        except OSError as error:
            return [f"sandbox {lost.attached.container} of pod {lost.pod} cannot be released: {error}"]
        del self._lost[lost.attached]
        if released:
            metrics.LOST.inc()
            text = "a sandbox was gone with its network namespace, and no DEL came: released"
            addresses, sandbox = list(lost.addresses), lost.attached.container[:13]
            log.warning(text, pod=str(lost.pod), sandbox=sandbox, addresses=addresses)
        return []

    def _tell(self, linkless: list[Attachment]) -> None:
        """Tell what two looks in a row have not found: a call may just have begun or ended at one of them."""
        self._linkless = {each.attached: self._linkless.get(each.attached, 0) + 1 for each in linkless}
        for each in linkless:
            if self._linkless[each.attached] == 2:
                text = "the link of a sandbox is gone, and no DEL came"
                log.warning(text, pod=str(each.pod), link=each.link, netns=each.netns)


def _lost(attachments: list[Attachment]) -> list[Attachment]:
    """Raises OSError."""
    return [each for each in attachments if check.is_lost(each.link, each.netns, each.netns_inode)]
