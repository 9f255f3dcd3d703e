"""From the journal to the log, in order, as soon as the log can be reached.

Reads the newest message of each subject that it writes, and writes behind just that one, so that nothing is
stored behind what is newer, whatever was lost or sent twice. What would say nothing new there is not stored.
What is not stored yet stays in the journal: after a restart it goes on there.

A kubelet that cannot start a pod tries for ever, with a new sandbox each time. So an end may be held back:
a request that comes before it is told replaces it, and the log hears of neither.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from romana_bus import tasks
from romana_bus.bus.api import Rewound, StreamMissing, Unavailable, WrongSequence
from romana_bus.cni.server.journal import over
from romana_bus.cni.server.requests import Requests
from romana_bus.events import NODE, SandboxRemoved, codec
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.bus.api import Store
    from romana_bus.cni.server.journal import Entry, Journal
    from romana_bus.cni.server.threads import Threads
    from romana_bus.events import SandboxEvent, SandboxRequested

log = structlog.get_logger(__name__)

#: Seconds before the log is tried again; and in which it takes what the disk does not.
AGAIN, AGAIN_AT_MOST, AT_ONCE = 0.05, 2.0, 3.0


class Outbox:
    """`trouble`: why nothing goes out now, or ''. `hold_down`: seconds for which an end is held back where a
    kubelet may try again, which it does within 90."""

    hold_down = 120.0

    def __init__(self, node: str, journal: Journal, threads: Threads) -> None:
        self.trouble = "the log was not reached since the agent started"
        self._journal, self._threads, self._requests = journal, threads, Requests(node)
        self._changed = asyncio.Event()
        self._progress = asyncio.Condition()
        self._writing = asyncio.Lock()
        # Subjects of what waits of which the log may have heard something that it did not confirm; what was
        # found on disk may have been sent before.
        self._begun = {event.subject() for event in self.waiting()}
        # When an end that waits is told. Of one found on disk nobody knows whether the kubelet tries again.
        self._due = dict.fromkeys(self._begun, time.monotonic() + self.hold_down)

    def waiting(self) -> list[SandboxEvent]:
        return [entry.event for entry in self._journal.waiting()]

    def keep_only(self, is_true: Callable[[SandboxEvent], bool]) -> None:
        """Of what was found on disk: there may be files that could not be removed."""
        for entry in self._journal.waiting():
            if not is_true(entry.event):
                self._drop(entry)

    def request_of(self, subject: str) -> SandboxRequested | None:
        """That of the log, as far as it was read."""
        return self._requests.of(subject)

    def may_have_request(self, subject: str) -> bool:
        """Whether the log has, or may have, or may get something there that has to be ended."""
        known = self._requests.known and self._requests.of(subject) is None
        return not known or self._journal.of(subject) is not None

    async def requests(self) -> list[SandboxRequested]:
        """All that the log has, which is read anew for that: it may be another one. Waits for the log."""
        self._requests.outdate()
        self._changed.set()
        async with self._progress:
            await self._progress.wait_for(lambda: self._requests.known)
        return self._requests.all()

    async def put(self, event: SandboxEvent, delay: float = 0.0) -> bool:
        """Keep it until the log has it. An end is told in `delay` seconds; where one waits already, when that
        is due. Gives whether the log has this request, and nothing is on its way that was decided before.
        Where the disk has no room, the log has it when this returns. Raises OSError where neither has."""
        subject, failure = event.subject(), None
        async with self._writing:
            older = self._journal.of(subject)
            if older is None:
                self._begun.discard(subject)
            if isinstance(event, SandboxRemoved) and not isinstance(older, SandboxRemoved):
                self._due[subject] = time.monotonic() + delay
            stands = self._requests.stands(event) if self._requests.known else older is not None
            try:
                await self._threads.run(self._journal.put, event)
            except OSError as error:
                self._journal.hold(event)
                # The log has the request of one that is held back: after a restart, no sandbox has that.
                if not (self._requests.known and self._is_held_back(event)):
                    failure, self._due[subject] = error, 0.0
            stands = stands and subject not in self._begun
        self._changed.set()
        if failure is not None:
            await self._put_on_the_log(subject, failure)
        else:
            await self._tell_who_waits()
        return stands

    def _is_held_back(self, event: SandboxEvent) -> bool:
        """Whether it is an end that a new request may still replace."""
        subject = event.subject()
        ends = isinstance(event, SandboxRemoved) and self._requests.of(subject) is not None
        return ends and self._due.get(subject, 0.0) > time.monotonic()

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
                await self._read_requests(store)
                await self._send_all(store)
            except (Rewound, StreamMissing, Unavailable) as error:
                if not self.trouble:
                    log.warning("the journal has to wait", why=str(error))
                self.trouble = f"the log is out of reach: {error}"
                await asyncio.sleep(delay)
                delay = min(delay * 2, AGAIN_AT_MOST)
            else:
                self.trouble, delay = "", AGAIN
                await self._until_due()

    async def _until_due(self) -> None:
        """Until there may be something to send. What waits was held back, and may be due by now."""
        due = [self._due[event.subject()] for event in self.waiting() if isinstance(event, SandboxRemoved)]
        await tasks.until_set(self._changed, min(due) - time.monotonic() if due else None)

    async def _read_requests(self, store: Store) -> None:
        await self._requests.read(store)
        await self._tell_who_waits()

    async def _send_all(self, store: Store) -> None:
        for entry in self._journal.waiting():
            if not self._is_held_back(entry.event) and await self._publish(store, entry):
                self._drop(entry)
                await self._tell_who_waits()

    def _drop(self, entry: Entry) -> None:
        try:
            self._journal.drop(entry)
        except OSError as error:  # after a restart it is seen to be over
            log.error("an entry of the journal cannot be removed", why=str(error))
        if not self._writing.locked():  # or it has begun and ended while another word is written
            there = {event.subject() for event in self.waiting()}
            self._begun &= there
            self._due = {subject: due for subject, due in self._due.items() if subject in there}

    async def _publish(self, store: Store, entry: Entry) -> bool:
        """Behind the newest message of its subject, unless that makes it needless, or it waits no more. Gives
        whether that is done: an end may turn out to be held back."""
        event, subject = entry.event, entry.event.subject()
        while True:
            newest = await store.newest(NODE, subject)
            there = codec.decode(newest.body) if newest else None
            self._requests.remember(subject, there)
            if over(event, there):
                return True
            if self._is_held_back(event):
                return False
            expected = newest.seq if newest else 0
            message = outgoing(event, "", store.clock.now(), store.history)
            message = message._replace(id=f"{subject}/{event.sandbox}/{type(event).__name__}/{expected}")
            if not self._journal.waits(entry):
                return True
            self._begun.add(subject)
            try:
                await store.publish(NODE, message, expected)
            except WrongSequence:
                await asyncio.sleep(AGAIN)  # an answer was lost, or the table is behind
            else:
                self._requests.remember(subject, event, first=newest is None)
                return True
