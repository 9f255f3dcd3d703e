"""From the journal to the log, in order, as soon as the log can be reached.

Reads the newest message of each subject that it writes, and writes behind just that one, so that the end of
a sandbox is never stored behind the wish of a newer one, whatever was lost or sent twice. Only this node's
agent writes these subjects. What is not stored yet stays in the journal: after a restart it goes on there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from romana_bus import codec
from romana_bus.bus.api import StreamMissing, Unavailable, WrongSequence
from romana_bus.cni.journal import outlived
from romana_bus.events import NODE
from romana_bus.feed import outgoing
from romana_bus.lead import now

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.cni.journal import Journal
    from romana_bus.cni.threads import Threads
    from romana_bus.events import SandboxEvent

log = structlog.get_logger(__name__)

#: Seconds before the log is tried again; and in which it takes what the disk does not.
AGAIN, AGAIN_AT_MOST, AT_ONCE = 0.05, 2.0, 3.0


class Outbox:
    """`trouble`: why nothing goes out now, or ''."""

    def __init__(self, journal: Journal, threads: Threads) -> None:
        self.trouble = "the log was not reached since the agent started"
        self._journal, self._threads = journal, threads
        self._changed = asyncio.Event()
        self._progress = asyncio.Condition()
        self._writing = asyncio.Lock()
        self._sending = ""  # the subject of what was sent last: the log may have heard of it

    def waiting(self) -> list[SandboxEvent]:
        return [entry.event for entry in self._journal.waiting()]

    async def put(self, event: SandboxEvent) -> SandboxEvent | None:
        """Keep it until the log has it. Gives what it replaced, of which the log never heard and never will.
        Where the disk has no room, the log has it when this returns. Raises OSError where neither has."""
        subject = event.subject()
        async with self._writing:
            older = self._journal.of(subject)
            try:
                await self._threads.run(self._journal.put, event)
            except OSError as error:
                await self._put_on_the_log(event, error)
                return None
            unheard = subject != self._sending and self._journal.of(subject) is event
        self._changed.set()
        return older if unheard else None

    async def _put_on_the_log(self, event: SandboxEvent, why: OSError) -> None:
        log.error("the journal cannot be written: telling the log at once, or nobody", why=str(why))
        self._journal.hold(event)
        self._changed.set()
        try:
            async with asyncio.timeout(AT_ONCE):
                await self.stored(event)
        except TimeoutError:
            raise why from None

    async def stored(self, event: SandboxEvent) -> None:
        """Until the log has it, or something newer of its subject."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._journal.of(event.subject()) != event)

    async def run(self, store: Store) -> None:
        """For ever. Raises Closed, Refused."""
        delay = AGAIN
        while True:
            self._changed.clear()
            try:
                await self._send_all(store)
            except (Unavailable, StreamMissing) as error:
                if not self.trouble:
                    log.warning("the journal has to wait", why=str(error))
                self.trouble = f"the log is out of reach: {error}"
                await asyncio.sleep(delay)
                delay = min(delay * 2, AGAIN_AT_MOST)
            else:
                self.trouble, delay = "", AGAIN
                await self._changed.wait()

    async def _send_all(self, store: Store) -> None:
        for entry in self._journal.waiting():
            await self._publish(store, entry.event)
            try:
                self._journal.drop(entry)
            except OSError as error:  # told once more after a restart: that is no harm
                log.error("an entry of the journal cannot be removed", why=str(error))
            async with self._progress:
                self._progress.notify_all()

    async def _publish(self, store: Store, event: SandboxEvent) -> None:
        """Behind the newest message of its subject, unless that is it already, or has outlived it."""
        subject = event.subject()
        while True:
            newest = await store.newest(NODE, subject)
            self._sending = ""
            there = codec.decode(newest.body) if newest else None
            if there == event or outlived(event, there):
                return
            expected = newest.seq if newest else 0
            message = outgoing(event, "", now(), store.history)
            message = message._replace(id=f"{subject}/{event.sandbox}/{type(event).__name__}/{expected}")
            self._sending = subject
            try:
                await store.publish(NODE, message, expected)
            except WrongSequence:
                await asyncio.sleep(AGAIN)  # an answer was lost, or the table is behind
            else:
                self._sending = ""
                return
