"""Parked messages: those that a consumer could not use. They are counted, reported and skipped.

A message is parked if it cannot be decoded, is about another entity than its subject says, made `evolve`
fail, or contradicts the known state. The newest parked message of each subject is remembered until a usable
message of that subject replaces it. Until then the last usable message before it counts, for a consumer that
has followed the log and for one that boots now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from romana_bus import metrics
from romana_bus.bus.reading.search import newest_before
from romana_bus.bus.writing.write import by_leader
from romana_bus.events import LeaderElected, codec
from romana_bus.events.base import SECOND

if TYPE_CHECKING:
    from romana_bus.bus.api import Message, Store
    from romana_bus.events import Event

log = structlog.get_logger(__name__)

#: How many earlier messages are looked for by binary search, some twenty requests each, before all are read.
SEARCHES = 3
#: Parked messages that are remembered, and that are logged one by one: a flood of junk must not fill memory
#: or logs. For one that is not remembered, a consumer that boots does not find the last usable message.
KEPT, LOGGED = 20_000, 10
#: How often parked tombstones are looked at that the table may have dropped: µs, by the log's time.
LOOK = 60 * SECOND

#: A reason for parking a message.
NOT_ELECTED = "somebody wrote it who was not elected"


class ParkedEntry(NamedTuple):
    """One parked message: its place on the log, and why it could not be used."""

    role: str
    seq: int
    subject: str
    reason: str


class ParkedMessages:
    """The parked messages of one consumer, as far as it has read. `own`: a stream on which it accepts only
    what the stream's leaders have written."""

    def __init__(self, consumer: str, own: str = "") -> None:
        self.consumer, self._own = consumer, own
        self.count = 0
        self._kept: dict[tuple[str, str], ParkedEntry] = {}
        self._expiring: dict[tuple[str, str], int] = {}  # those that the table drops, and when: µs
        self._looked = 0

    def __bool__(self) -> bool:
        return bool(self._kept)

    @property
    def kept(self) -> list[ParkedEntry]:
        """In log order."""
        return sorted(self._kept.values())

    def read(self, message: Message, role: str) -> Event | None:
        """The event in a message; None if the message was parked."""
        event = self._decode(message, role)
        if isinstance(event, codec.Parked):
            self.park(message, role, event.reason)
            return None
        if self._kept:
            self.replaced(role, message.subject, message.seq)
        return event

    def _decode(self, message: Message, role: str) -> Event | codec.Parked:
        if role == self._own and not by_leader(message, role):
            return codec.Parked(NOT_ELECTED, message.body)
        return decode(message, role)

    async def usable_before(self, store: Store, entry: ParkedEntry) -> Message | None:
        """The last usable message of the subject before a parked one, as far as the log goes back.
        Raises StreamMissing, Unavailable."""
        if any(token in ("*", ">") for token in entry.subject.split(".")):
            return None  # as a filter it would select other subjects
        seq = entry.seq
        for _ in range(SEARCHES):
            earlier = await newest_before(store, entry.role, entry.subject, seq)
            if earlier is None or self._usable(earlier, entry.role):
                return earlier
            seq = earlier.seq
        return await self._last_usable(store, entry, seq)

    async def _last_usable(self, store: Store, entry: ParkedEntry, before: int) -> Message | None:
        """The same, by reading all messages of the subject: with much junk that is cheaper than searches."""
        last, seq = None, 0
        while (message := await store.next(entry.role, seq, entry.subject)) and message.seq < before:
            last, seq = message if self._usable(message, entry.role) else last, message.seq
        return last

    def _usable(self, message: Message, role: str) -> bool:
        return not isinstance(self._decode(message, role), codec.Parked)

    def replaced(self, role: str, subject: str, seq: int) -> None:
        """Forget the parked message of a subject: a usable one stands at `seq`."""
        if (entry := self._kept.get((role, subject))) and entry.seq < seq:
            self._forget((role, subject))

    def forget_old(self, now: int) -> None:
        """Forget parked tombstones that the table has dropped. `now`: µs, by the log's time."""
        if not self._expiring or now - self._looked < LOOK:
            return
        self._looked = now
        for key in [key for key, until in self._expiring.items() if until <= now]:
            self._forget(key)

    def _forget(self, key: tuple[str, str]) -> None:
        self._kept.pop(key, None)
        self._expiring.pop(key, None)

    def park(self, message: Message, role: str, reason: str) -> None:
        """Count and remember a message that cannot be used; log it, unless there are very many."""
        self.count += 1
        metrics.PARKED.labels(self.consumer, role).inc()
        key = role, message.subject
        self._forget(key)
        self._kept[key] = ParkedEntry(role, message.seq, message.subject, reason)
        if until := _expiry(message):
            self._expiring[key] = until
        if len(self._kept) > KEPT:
            self._forget(next(iter(self._kept)))
        if self.count <= LOGGED or self.count & (self.count - 1) == 0:
            log.warning(
                "parked", consumer=self.consumer, stream=role, seq=message.seq, why=reason, parked=self.count
            )


def _expiry(message: Message) -> int:
    """When log and table drop the message (µs); 0: never, as far as known."""
    seconds = message.seconds(b"Nats-TTL")
    return message.stored + seconds * SECOND if seconds else 0


def decode(message: Message, role: str) -> Event | codec.Parked:
    """The event in a message, or why it cannot be used.

    Only a leader's subjects are trusted. What anybody else writes has to be about the entity of its subject,
    and cannot be an election."""
    event = codec.decode(message.body)
    if isinstance(event, codec.Parked) or by_leader(message, role):
        return event
    if isinstance(event, LeaderElected):
        return codec.Parked(NOT_ELECTED, message.body)
    try:
        subject = event.subject()
    except ValueError as error:
        return codec.Parked(f"not an event: {error}", message.body)
    if subject != message.subject:
        return codec.Parked(f"it is about {subject[:200]}, which is another entity", message.body)
    return event
