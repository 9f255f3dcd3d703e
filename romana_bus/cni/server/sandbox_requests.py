"""What the log is told of this node's sandboxes: that one wants an address, and that it wants none any more.

Reads the attachments, of which each says whether it has a wish, and the requests of this node on the log.
Writes SandboxRequested and SandboxRemoved, by the outbox. The log knows but the newest word about a pod's
name on a node. So where one sandbox ends and another one of that name goes on with a wish of its own, it is
that wish that is told, and no end. Where nothing was asked for, there is nothing to end.

A kubelet that cannot start a pod tries again for ever. So the end of a sandbox that was made is told at once,
unless another sandbox of the pod ended a moment ago; every other end is held back, since the next try takes
up the request that is on the log. A request there that no sandbox here has is ended in the same way, so none
outlives its pod, whatever was lost.
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

#: Pods of which it is remembered that they were asked for.
REMEMBERED = 4096
#: When the last sandbox has ended of a pod that had none yet.
NEVER = float("-inf")


class Wishes:
    """`runs(pod)`: whether a pod of that name may run here of which no attachment is left."""

    def __init__(
        self,
        node: str,
        attachments: Attachments,
        outbox: Outbox,
        runs: Callable[[Pod], Awaitable[bool]],
    ) -> None:
        self._node, self._attachments, self._outbox, self._runs = node, attachments, outbox, runs
        self._ending: set[tuple[str, Attached]] = set()
        outbox.keep_only(self._is_true)
        # Pods that were asked for by event: when that sandbox ends, so may what they hold. And when the last
        # sandbox of each has ended.
        told = [_pod(event) for event in outbox.waiting()]
        self._asked = dict.fromkeys([*(one.pod for one in attachments if one.requested), *told], NEVER)

    def _is_true(self, event: SandboxEvent) -> bool:
        """Whether what the journal had when the agent started is still so."""
        return isinstance(event, SandboxRequested) == (self._with_wish(_pod(event)) is not None)

    def __contains__(self, pod: Pod) -> bool:
        """Whether it was asked for by event."""
        return pod in self._asked or self._stands(pod)

    def _stands(self, pod: Pod) -> bool:
        """Whether the log has its request."""
        there = self._outbox.request_of(self._end_of(pod, "").subject())
        return there is not None and there.uid == pod.uid

    def of(self, pod: Pod, container: str) -> SandboxRequested:
        """The wish, which is still to be told. From now on the pod was asked for."""
        self._remember(pod, self._asked.get(pod, NEVER))
        return SandboxRequested(**self._sandbox(pod, container))

    def _remember(self, pod: Pod, ended: float) -> None:
        self._asked.pop(pod, None)
        self._asked[pod] = ended
        if len(self._asked) > REMEMBERED:
            self._forget_one()

    def _forget_one(self) -> None:
        """The one that was asked for the longest time ago, and of which no sandbox is left."""
        kept = {one.pod for one in self._attachments if one.requested}
        if (oldest := next((pod for pod in self._asked if pod not in kept), None)) is not None:
            del self._asked[oldest]

    async def resend(self) -> None:
        """Every wish that still counts: the log may have lost it, or an audit has taken it back. And the end
        of what is asked for there and nobody here wants. What the log has already is not told twice."""
        for one in list(self._attachments):
            counts = one.requested and one.addresses and one.key not in self._ending
            if counts and self._attachments.newest(one.pod) is one:
                with _unless_impossible(one.pod):
                    await self._outbox.put(SandboxRequested(**self._sandbox(one.pod, one.attached.container)))
        for request in await self._outbox.requests():
            if self._with_wish(_pod(request), ending=True) is None:
                with _unless_impossible(_pod(request)):
                    await self.end(_pod(request), request.sandbox, was_made=False)

    @contextlib.contextmanager
    def ending(self, one: Attachment | None) -> Iterator[None]:
        """While it is being removed, its wish counts no more."""
        if one is None:
            yield
            return
        self._ending.add(one.key)
        try:
            yield
        finally:
            self._ending.discard(one.key)

    async def end(self, pod: Pod, container: str, was_made: bool) -> None:
        """A sandbox is gone. `was_made`: it had its address, as far as is known. Raises OSError where neither
        the disk nor the log takes it."""
        end = self._end_of(pod, container)
        if self._with_wish(pod) is None:
            if not self._outbox.may_have_request(end.subject()):
                return
            if await self._runs(pod):
                log.warning("a request stays: a pod of its name may run", pod=str(pod))
                return
        if left := self._with_wish(pod):
            await self._outbox.put(SandboxRequested(**self._sandbox(left.pod, left.attached.container)))
            return
        moment, hold_down = time.monotonic(), self._outbox.hold_down
        tries_again = not was_made or moment - self._asked.get(pod, NEVER) < hold_down
        if pod in self:
            self._remember(pod, moment)
        await self._outbox.put(end, hold_down if tries_again else 0.0)

    def _with_wish(self, pod: Pod, *, ending: bool = False) -> Attachment | None:
        """A sandbox of that name with a wish. `ending`: also one that is being removed, whose end is told."""
        for one in self._attachments:
            counts = one.pod.named(pod) and (ending or one.key not in self._ending)
            if counts and (one.requested or self._stands(one.pod)):
                return one
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
def _unless_impossible(pod: Pod) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("the log could not be told what this node wants", pod=str(pod), why=str(error))
