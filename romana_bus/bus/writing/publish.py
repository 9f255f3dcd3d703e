"""Publishing without a fence: for reports, where a stream has many writers and each subject has one.

Every message has an id and a deadline. One that was not acknowledged in time, or was in flight when the
connection was lost, is sent again with the same id, so it is stored once. Subjects are independent; within a
subject a message waits for the one before it, so that a late one never becomes the newest.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING

import structlog

from romana_bus import tasks
from romana_bus.bus.api import BusError, Closed, Refused, StreamMissing, Unavailable
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from romana_bus.bus.api import Outgoing, Store

log = structlog.get_logger(__name__)

#: Messages in flight, and messages queued before `put` waits.
WINDOW, QUEUED = 1024, 20_000


class Publisher:
    """Publishes on the stream `role`. `queued`: messages that are not stored yet."""

    def __init__(self, store: Store, role: str) -> None:
        self._store, self._role = store, role
        self._instance, self._numbers = tasks.nonce() + tasks.nonce(), itertools.count(1)
        self._queues: dict[str, deque[Outgoing]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._window = asyncio.Semaphore(WINDOW)
        self._progress = asyncio.Event()
        self._failure: BusError | None = None
        self.queued = 0

    async def put(self, message: Outgoing) -> None:
        """Queue a message; returns before it is stored. Raises Refused, Closed, also for an earlier one."""
        while self._failure is None and self.queued >= QUEUED:
            await self._wait()
        self._raise()
        if not message.id:
            message = message._replace(id=f"{self._instance}/{next(self._numbers)}")
        self.queued += 1
        queue = self._queues.setdefault(message.subject, deque())
        queue.append(message)
        if len(queue) == 1:
            task = asyncio.create_task(self._drain(message.subject, queue), name=f"publish {message.subject}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def flush(self) -> None:
        """Wait until all queued messages are stored. Raises as `put`."""
        while self._failure is None and self.queued:
            await self._wait()
        self._raise()

    async def close(self) -> None:
        for task in list(self._tasks):
            await stop(task)

    async def _wait(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _drain(self, subject: str, queue: deque[Outgoing]) -> None:
        while queue and self._failure is None:
            try:
                async with self._window:
                    await self._publish(queue[0])
            except (Refused, Closed) as error:
                self._failure = error
            else:
                queue.popleft()
                self.queued -= 1
            self._progress.set()
        self._queues.pop(subject, None)

    async def _publish(self, message: Outgoing) -> None:
        delay = 0.01
        while True:
            try:
                await self._store.publish(self._role, message)
                return
            except (Unavailable, StreamMissing) as error:
                log.info("a report could not be stored yet", subject=message.subject, why=str(error))
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
