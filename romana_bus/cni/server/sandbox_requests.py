"""Decides which SandboxRequested and SandboxRemoved of this node's sandboxes the log needs.

Reads the attachments, which say whether an address was requested for them, and this node's requests on the
log. Writes SandboxRequested and SandboxRemoved, through the outbox. The log keeps only the newest event about
a pod's name on a node. So when a sandbox ends while another one of that name has a request, that request is
published, and no SandboxRemoved. Without a request nothing has to be published.

A kubelet that cannot start a pod retries without end. So the end of an attached sandbox is published at once,
unless another sandbox of the pod ended a moment ago; every other end is delayed, since the next attempt
reuses the request on the log. A request on the log without a sandbox here is ended in the same way, so none
stays longer than its pod, even if messages were lost.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from romana_bus.cni.spec import Pod
from romana_bus.events import SandboxRemoved, SandboxRequested

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from romana_bus.cni.server.attachments import Attachment, Attachments
    from romana_bus.cni.server.outbox import Outbox
    from romana_bus.cni.spec import Attached
    from romana_bus.events import SandboxEvent

log = structlog.get_logger(__name__)

#: Seconds for which a pod is remembered at least, and twice that at most, after its last request or end: by
#: then no decision about it can arrive any more.
REMEMBERED = 600.0
#: When the last sandbox of a pod ended, if none has ended yet.
NEVER = float("-inf")


class SandboxRequests:
    """The requests of one node. `runs(pod)`: whether a pod of that name may run here without an
    attachment."""

    def __init__(
        self,
        node: str,
        attachments: Attachments,
        outbox: Outbox,
        runs: Callable[[Pod], Awaitable[bool]],
    ) -> None:
        self._node, self._attachments, self._outbox, self._runs = node, attachments, outbox, runs
        self._ending: set[Attached] = set()
        outbox.keep_only(self._is_true)
        # Pods with a request, and when the last sandbox of each ended.
        waiting = [_pod(event) for event in outbox.waiting()]
        self._asked = dict.fromkeys([*(each.pod for each in attachments if each.requested), *waiting], NEVER)
        self._recent = {*self._asked}  # those that were noted since the last look
        self._look_at = time.monotonic() + REMEMBERED

    def _is_true(self, event: SandboxEvent) -> bool:
        """Whether an event that the journal had when the agent started still holds."""
        return isinstance(event, SandboxRequested) == (self._requesting(_pod(event)) is not None)

    def __contains__(self, pod: Pod) -> bool:
        """Whether an address was requested for the pod by event."""
        return pod in self._asked or self._stands(pod)

    def _stands(self, pod: Pod) -> bool:
        """Whether the log has the pod's request."""
        request = self._outbox.request_of(self._end_of(pod, "").subject())
        return request is not None and request.uid == pod.uid

    def of(self, pod: Pod, container: str) -> SandboxRequested:
        """The request of a sandbox, for the caller to publish. The pod counts as requested from now on."""
        self._remember(pod, self._asked.get(pod, NEVER))
        return SandboxRequested(**self._sandbox(pod, container))

    def _remember(self, pod: Pod, ended: float) -> None:
        self._asked[pod] = ended
        self._recent.add(pod)

    def forget_old(self) -> None:
        """Forget pods that have had neither a sandbox with a request nor a waiting event for some time."""
        if (now := time.monotonic()) < self._look_at:
            return
        self._look_at = now + REMEMBERED
        kept = {each.pod for each in self._attachments if each.requested} | self._recent
        kept |= {_pod(event) for event in self._outbox.waiting()}
        self._asked = {pod: ended for pod, ended in self._asked.items() if pod in kept}
        self._recent = set()

    async def resend(self) -> None:
        """Publish every request that still counts, since the log may have lost it, or an audit ended it; and
        end requests on the log without a sandbox here. What the log already has is not stored twice."""
        # First: until they are read, ends are written that the log may not need.
        requests = await self._outbox.requests()
        for each in list(self._attachments):
            counts = each.requested and each.addresses and each.attached not in self._ending
            if counts and self._attachments.newest(each.pod) is each:
                with _logged(each.pod):
                    await self._outbox.put(
                        SandboxRequested(**self._sandbox(each.pod, each.attached.container))
                    )
        for request in requests:
            if self._requesting(_pod(request), ending=True) is None:
                with _logged(_pod(request)):
                    await self.end(_pod(request), request.sandbox, was_made=False)

    @contextlib.contextmanager
    def ending(self, attachment: Attachment | None) -> Iterator[None]:
        """While an attachment is being removed, its request does not count."""
        if attachment is None:
            yield
            return
        self._ending.add(attachment.attached)
        try:
            yield
        finally:
            self._ending.discard(attachment.attached)

    async def end(self, pod: Pod, container: str, was_made: bool) -> None:
        """A sandbox was removed. `was_made`: it had its address, as far as known. Raises OSError if neither
        the disk nor the log takes the event."""
        end = self._end_of(pod, container)
        if self._requesting(pod) is None:
            if not self._outbox.may_have_request(end.subject()):
                return
            if await self._runs(pod):
                log.warning("a request is kept: a pod of its name may run", pod=str(pod))
                return
        if left := self._requesting(pod):
            await self._outbox.put(SandboxRequested(**self._sandbox(left.pod, left.attached.container)))
            return
        now, hold_down = time.monotonic(), self._outbox.hold_down
        may_retry = not was_made or now - self._asked.get(pod, NEVER) < hold_down
        if pod in self:
            self._remember(pod, now)
        await self._outbox.put(end, hold_down if may_retry else 0.0)

    def _requesting(self, pod: Pod, *, ending: bool = False) -> Attachment | None:
        """A sandbox of that name with a request. `ending`: also one that is being removed."""
        for each in self._attachments:
            counts = each.pod.named(pod) and (ending or each.attached not in self._ending)
            if counts and (each.requested or self._stands(each.pod)):
                return each
        return None

    def _end_of(self, pod: Pod, container: str) -> SandboxRemoved:
        return SandboxRemoved(**self._sandbox(pod, container))

    def _sandbox(self, pod: Pod, container: str) -> dict[str, str]:
        return {
            "node": self._node,
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
            "sandbox": container,
        }


def _pod(event: SandboxEvent) -> Pod:
    return Pod(event.namespace, event.name, event.uid)


@contextlib.contextmanager
def _logged(pod: Pod) -> Iterator[None]:
    """Log an OSError instead of raising it."""
    try:
        yield
    except OSError as error:
        log.error("a sandbox event could not be stored", pod=str(pod), why=str(error))
