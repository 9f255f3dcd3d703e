"""Publishes the journal on the log, in order, as soon as the log can be reached.

Reads the newest message of each subject that it writes, and writes only directly behind that one: so no older
event follows a newer one, even if messages were lost or repeated. An event without a change is not stored.
Events that are not stored yet stay in the journal, and survive a restart.

A kubelet that cannot start a pod retries without end, with a new sandbox each time. So a SandboxRemoved may
be delayed: a request that comes before it is due replaces it, and neither is published.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from romana_bus import tasks
from romana_bus.bus.api import Rewound, StreamMissing, Unavailable, WrongSequence
from romana_bus.cni.server.journal import is_settled
from romana_bus.cni.server.logged_requests import Requests
from romana_bus.events import NODE, SandboxRemoved, codec
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.bus.api import Store
    from romana_bus.cni.server.journal import Entry, Journal
    from romana_bus.cni.server.threads import Threads
    from romana_bus.events import SandboxEvent, SandboxRequested

log = structlog.get_logger(__name__)

#: Seconds: backoff for the log, at first and at most; and for storing an event that the disk did not take.
BACKOFF, MAX_BACKOFF, WITHOUT_DISK = 0.05, 2.0, 3.0


class Outbox:
    """`trouble`: why nothing is published now, or ''. `hold_down`: seconds for which a SandboxRemoved is held
    back if the kubelet may retry, which it does within 90 s."""

    hold_down = 120.0

    def __init__(self, node: str, journal: Journal, threads: Threads) -> None:
        self.trouble = "the log was not reached since the agent started"
        self._journal, self._threads, self._requests = journal, threads, Requests(node)
        self._changed = asyncio.Event()
        self._progress = asyncio.Condition()
        self._writing = asyncio.Lock()
        # Subjects of waiting events that may already be stored, unconfirmed; also those that were found on
        # disk.
        self._begun = {event.subject() for event in self.waiting()}
        # When a waiting SandboxRemoved is due. For one that was found on disk it is not known whether the
        # kubelet retries.
        self._due = dict.fromkeys(self._begun, time.monotonic() + self.hold_down)

    def waiting(self) -> list[SandboxEvent]:
        return [entry.event for entry in self._journal.waiting()]

    def keep_only(self, is_true: Callable[[SandboxEvent], bool]) -> None:
        """Drop the waiting events that are not true: files may be left that could not be removed."""
        for entry in self._journal.waiting():
            if not is_true(entry.event):
                self._drop(entry)

    def request_of(self, subject: str) -> SandboxRequested | None:
        """The request of a subject on the log, as far as it was read."""
        return self._requests.of(subject)

    def may_have_request(self, subject: str) -> bool:
        """Whether the log has, may have, or may get a request of the subject that has to be ended."""
        known = self._requests.known and self._requests.of(subject) is None
        return not known or self._journal.of(subject) is not None

    async def requests(self) -> list[SandboxRequested]:
        """All requests of this node on the log. Reads them again, since it may be another log; waits until
        the log can be reached."""
        self._requests.outdate()
        self._changed.set()
        async with self._progress:
            await self._progress.wait_for(lambda: self._requests.known)
        return self._requests.all()

    async def put(self, event: SandboxEvent, delay: float = 0.0) -> bool:
        """Store an event in the journal until the log has it. A SandboxRemoved is published after `delay`
        seconds, or when a SandboxRemoved of the subject that already waits is due. Returns True if the log
        already says what the event says (`Requests.stands`) and no publish for the subject may be under way:
        then no decision about an earlier event can arrive any more. While the requests on the log are not
        known, it suffices that an event of the subject already waited. If the disk is full, the log has the
        event when this returns. Raises OSError if neither takes it."""
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
                self._journal.keep_in_memory(event)
                # A held back SandboxRemoved may be lost: after a restart no sandbox has its request, so the
                # request is ended again.
                if not (self._requests.known and self._is_held_back(event)):
                    failure, self._due[subject] = error, 0.0
            stands = stands and subject not in self._begun
        self._changed.set()
        if failure is not None:
            await self._put_on_the_log(subject, failure)
        else:
            await self._notify()
        return stands

    def _is_held_back(self, event: SandboxEvent) -> bool:
        """Whether the event is a SandboxRemoved that a new request may still replace."""
        subject = event.subject()
        ends = isinstance(event, SandboxRemoved) and self._requests.of(subject) is not None
        return ends and self._due.get(subject, 0.0) > time.monotonic()

    async def _put_on_the_log(self, subject: str, why: OSError) -> None:
        """Wait until the log has an event that is only in memory. Raises `why` if that takes too long."""
        log.error("the journal cannot be written: the event is published at once, or refused", why=str(why))
        try:
            async with asyncio.timeout(WITHOUT_DISK), self._progress:
                await self._progress.wait_for(lambda: not self._journal.held(subject))
        except TimeoutError:
            raise why from None

    async def _notify(self) -> None:
        async with self._progress:
            self._progress.notify_all()

    async def stored(self, event: SandboxEvent) -> None:
        """Returns when the log has the event, or a newer one of its subject."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._journal.of(event.subject()) != event)

    async def run(self, store: Store) -> None:
        """Publish until cancelled. Raises Closed, Refused."""
        delay = BACKOFF
        while True:
            self._changed.clear()
            try:
                await self._read_requests(store)
                await self._send_all(store)
            except (Rewound, StreamMissing, Unavailable) as error:
                if not self.trouble:
                    log.warning("the journal waits for the log", why=str(error))
                self.trouble = f"the log is out of reach: {error}"
                await asyncio.sleep(delay)
                delay = min(delay * 2, MAX_BACKOFF)
            else:
                self.trouble, delay = "", BACKOFF
                await self._until_due()

    async def _until_due(self) -> None:
        """Returns when there may be something to send: something has changed, or a held back event is due."""
        due = [self._due[event.subject()] for event in self.waiting() if isinstance(event, SandboxRemoved)]
        await tasks.until_set(self._changed, min(due) - time.monotonic() if due else None)

    async def _read_requests(self, store: Store) -> None:
        await self._requests.read(store)
        await self._notify()

    async def _send_all(self, store: Store) -> None:
        for entry in self._journal.waiting():
            if not self._is_held_back(entry.event) and await self._publish(store, entry):
                self._drop(entry)
                await self._notify()

    def _drop(self, entry: Entry) -> None:
        try:
            self._journal.drop(entry)
        except OSError as error:  # after a restart it is found to be settled
            log.error("an entry of the journal cannot be removed", why=str(error))
        if not self._writing.locked():  # while `put` writes, its subject may not be waiting yet
            waiting = {event.subject() for event in self.waiting()}
            self._begun &= waiting
            self._due = {subject: due for subject, due in self._due.items() if subject in waiting}

    async def _publish(self, store: Store, entry: Entry) -> bool:
        """Publish an entry behind the newest message of its subject, unless that settles it, or it no longer
        waits. Returns False if it turns out to be held back."""
        event, subject = entry.event, entry.event.subject()
        while True:
            newest = await store.newest(NODE, subject)
            newest_event = codec.decode(newest.body) if newest else None
            self._requests.remember(subject, newest_event)
            if is_settled(event, newest_event):
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
                await asyncio.sleep(BACKOFF)  # an answer was lost, or the table is behind
            else:
                self._requests.remember(subject, event, first=newest is None)
                return True
