"""Refusals: subjects that the server does not let this identity publish or hear.

The server names the subject in an error, and answers nothing. So the requests that wait for an answer are
failed at once (`requests.py`). Here each refusal is counted, logged, and reported on the log, where `status`
finds it: every identity may write the report about itself. The first one is reported at once, later ones
within a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics, tasks
from romana_bus.bus.api import BusError, Outgoing
from romana_bus.events import NODE, PermissionRefused, RefusedSubject, codec

if TYPE_CHECKING:
    from romana_bus.bus.jetstream.messages import Streams

log = structlog.get_logger(__name__)

#: Seconds between two reports, and for which a report stays; and how many subjects one names.
SPACING, LIFE, NAMED = 60.0, 3600, 10
#: Seconds for the last report.
CLOSE_WITHIN = 1.0
#: The server's error, as nats-py passes it on: in lower case.
_ERROR = re.compile(r'permissions violation for (publish|subscription) to "(.+?)"')


class Refusals:
    """Those of one connection. `name`, `node`: of its identity; '' is no agent's."""

    def __init__(self, store: Streams, name: str, node: str) -> None:
        self._store, self._name, self._node = store, name, node
        self._counts: dict[tuple[str, str], int] = {}
        self._reported = 0.0
        self._unreported = False
        self._task: asyncio.Task[None] | None = None

    def take(self, error: str) -> bool:
        """Handle an error of the connection; returns whether it was a refusal."""
        if not (match := _ERROR.search(error)):
            return False
        act = "publish" if match[1] == "publish" else "subscribe to"
        subject = self._store.not_permitted(act, match[2])
        metrics.REFUSED.labels(match[1]).inc()
        log.error("NATS does not let this identity do that", identity=self._name, act=act, subject=subject)
        if ".refused." not in subject:
            key = act, subject[:200]
            self._counts[key] = self._counts.pop(key, 0) + 1  # the newest is the last
            if len(self._counts) > NAMED:
                del self._counts[next(iter(self._counts))]
            self._unreported = True
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._report_later(), name="report refusals")
        return True

    async def close(self) -> None:
        """Report what was not reported yet."""
        in_flight = self._task is not None and not self._task.done()
        await tasks.stop(self._task)
        if in_flight or self._unreported:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN):
                    await self._report()

    async def _report_later(self) -> None:
        while self._unreported:
            if self._reported:
                await asyncio.sleep(self._reported + SPACING - tasks.monotonic())
            await self._report()

    async def _report(self) -> None:
        self._reported, self._unreported = tasks.monotonic(), False
        event = PermissionRefused(
            node=self._node,
            consumer=self._name,
            refused=tuple(
                RefusedSubject(act=act, subject=subject, count=count)
                for (act, subject), count in self._counts.items()
            ),
        )
        message = Outgoing(event.subject(), codec.encode(event), time=self._store.clock.now(), ttl=LIFE)
        try:
            await self._store.publish(NODE, message)
        except BusError as error:
            log.warning("a refusal could not be reported", why=str(error))
