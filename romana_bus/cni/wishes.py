"""What the log is told of this node's sandboxes: that one wants an address, and that it wants none any more.

Reads the attachments, of which each says whether it has a wish. Writes SandboxRequested and SandboxRemoved,
by the outbox. The log knows but the newest word about a pod's name on a node. So where one sandbox ends and
another one of that name goes on with a wish of its own, it is that wish that is told, and no end.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from romana_bus.cni.spec import Pod
from romana_bus.events import SandboxRemoved, SandboxRequested

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.cni.attachments import Attachment, Attachments
    from romana_bus.cni.outbox import Outbox
    from romana_bus.cni.spec import Attached

log = structlog.get_logger(__name__)

#: Pods of which it is remembered that they were asked for.
REMEMBERED = 4096


class Wishes:
    def __init__(self, node: str, attachments: Attachments, outbox: Outbox) -> None:
        self._node, self._attachments, self._outbox = node, attachments, outbox
        # Pods that were asked for by event: when that sandbox ends, so may what they hold.
        told = [Pod(one.namespace, one.name, one.uid) for one in outbox.waiting()]
        self._asked = dict.fromkeys([*(one.pod for one in attachments if one.requested), *told])
        self._ending: set[tuple[str, Attached]] = set()

    def __contains__(self, pod: Pod) -> bool:
        """Whether it was asked for by event."""
        return pod in self._asked

    def of(self, pod: Pod, container: str) -> SandboxRequested:
        """The wish, which is still to be told. From now on the pod was asked for."""
        self._asked.pop(pod, None)
        self._asked[pod] = None
        if len(self._asked) > REMEMBERED:
            self._forget_one()
        return SandboxRequested(**self._sandbox(pod, container))

    def _forget_one(self) -> None:
        """The one that was asked for the longest time ago, and of which no sandbox is left."""
        kept = {one.pod for one in self._attachments if one.requested}
        if (oldest := next((pod for pod in self._asked if pod not in kept), None)) is not None:
            del self._asked[oldest]

    async def tell_again(self) -> None:
        """Every wish that still counts: the log may have lost it, or an audit has taken it back. What the
        log has already is not told twice."""
        for one in list(self._attachments):
            counts = one.requested and one.addresses and one.key not in self._ending
            if counts and self._attachments.newest(one.pod) is one:
                try:
                    await self._outbox.put(SandboxRequested(**self._sandbox(one.pod, one.attached.container)))
                except OSError as error:
                    log.error("a wish could not be told again", pod=str(one.pod), why=str(error))

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

    async def end(self, pod: Pod, container: str) -> None:
        """A sandbox is gone. Raises OSError where neither the disk nor the log takes it."""
        if left := self._left(pod, container):
            await self._outbox.put(SandboxRequested(**self._sandbox(left.pod, left.attached.container)))
        else:
            await self._outbox.put(SandboxRemoved(**self._sandbox(pod, container)))

    def _left(self, pod: Pod, container: str) -> Attachment | None:
        """Another sandbox of that name with a wish."""
        for one in self._attachments:
            other = one.pod.named(pod) and one.attached.container != container
            if other and one.requested and one.key not in self._ending:
                return one
        return None

    def _sandbox(self, pod: Pod, container: str) -> dict[str, str]:
        return {
            "node": self._node,
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
            "sandbox": container,
        }
