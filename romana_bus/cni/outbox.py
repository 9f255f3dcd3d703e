"""From the journal to the log, in order, as soon as the log can be reached.

Reads the newest message of each subject that it writes, and writes behind just that one, so that the end of
a sandbox is never stored behind the wish of a newer one, whatever was lost or sent twice. Besides this node's
agent only the audit writes these subjects, which takes back what a node asked for that is gone. What is not
stored yet stays in the journal: after a restart it goes on there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from romana_bus import codec
from romana_bus.bus.api import StreamMissing, Unavailable, WrongSequence
from romana_bus.cni.journal import over
from romana_bus.events import NODE, SandboxEvent
from romana_bus.feed import outgoing

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.cni.journal import Entry, Journal
    from romana_bus.cni.threads import Threads

log = structlog.get_logger(__name__)

#: Seconds before the log is tried again; and in which it takes what the disk does not.
AGAIN, AGAIN_AT_MOST, AT_ONCE = 0.05, 2.0, 3.0
#: Subjects of which it is remembered what the log was told last.
REMEMBERED = 4096


class Outbox:
    """`trouble`: why nothing goes out now, or ''."""

    def __init__(self, journal: Journal, threads: Threads) -> None:
        self.trouble = "the log was not reached since the agent started"
        self._journal, self._threads = journal, threads
        self._changed = asyncio.Event()
        self._progress = asyncio.Condition()
        self._writing = asyncio.Lock()
        # Subjects of what waits of which the log may have heard something that it did not confirm; what was
        # found on disk may have been sent before.
        self._begun = {event.subject() for event in self.waiting()}
        self._told: dict[str, SandboxEvent] = {}  # what it did confirm

    def waiting(self) -> list[SandboxEvent]:
        return [entry.event for entry in self._journal.waiting()]

    async def put(self, event: SandboxEvent) -> SandboxEvent | None:
        """Keep it until the log has it. Gives what it replaced, of which the log never heard and never will.
        Where the disk has no room, the log has it when this returns. Raises OSError where neither has."""
        subject, failure = event.subject(), None
        async with self._writing:
            older = self._journal.of(subject)
            heard = older is None or subject in self._begun or self._told.get(subject) == older
            try:
                await self._threads.run(self._journal.put, event)
            except OSError as error:
                self._journal.hold(event)
                failure = error
            heard |= subject in self._begun or self._journal.of(subject) is not event
        self._changed.set()
        if failure is not None:
            await self._put_on_the_log(subject, failure)
            return None
        await self._tell_who_waits()
        return None if heard else older

    async def _put_on_the_log(self, subject: str, why: OSError) -> None:
        """What is held in memory alone. Others may put theirs meanwhile."""
        log.error("the journal cannot be written: telling the log at once, or nobody", why=str(why))
        try:
            async with asyncio.timeout(AT_ONCE), self._progress:
                await self._progress.wait_for(lambda: not self._journal.held(subject))
        except TimeoutError:
            raise why from None

    async def _tell_who_waits(self) -> None:
        async with self._progress:
            self._progress.notify_all()

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
            await self._publish(store, entry)
            try:
                self._journal.drop(entry)
            except OSError as error:  # after a restart it is seen to be over
                log.error("an entry of the journal cannot be removed", why=str(error))
            if not self._writing.locked():  # or it has begun and ended while another word is written
                self._begun = {one for one in self._begun if self._journal.of(one) is not None}
            await self._tell_who_waits()

    async def _publish(self, store: Store, entry: Entry) -> None:
        """Behind the newest message of its subject, unless that makes it needless, or it waits no more."""
        event, subject = entry.event, entry.event.subject()
        while True:
            newest = await store.newest(NODE, subject)
            there = codec.decode(newest.body) if newest else None
            if over(entry, there):
                self._remember(subject, there)
                return
            expected = newest.seq if newest else 0
            message = outgoing(event, "", store.clock.now(), store.history)
            message = message._replace(id=f"{subject}/{event.sandbox}/{type(event).__name__}/{expected}")
            if not self._journal.waits(entry):
                return
            self._begun.add(subject)
            try:
                await store.publish(NODE, message, expected)
            except WrongSequence:
                await asyncio.sleep(AGAIN)  # an answer was lost, or the table is behind
            else:
                self._remember(subject, event)
                return

    def _remember(self, subject: str, told: object) -> None:
        self._told.pop(subject, None)
        if isinstance(told, SandboxEvent):
            self._told[subject] = told
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
