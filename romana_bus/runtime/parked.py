"""What of the log a consumer could not use: it is counted, shown, and stepped over.

A message that no reader here understands, one that is about another entity than its subject says, one that
a consumer failed on, or one that contradicts what is known. Each subject's newest flaw is kept until a
message that is well stands in its place, as it does in the table. Until then the word before it counts, for
whoever has followed the log, and for whoever reads it now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from romana_bus import metrics
from romana_bus.bus.search import newest_before
from romana_bus.bus.write import by_leader
from romana_bus.events import LeaderElected, codec

if TYPE_CHECKING:
    from romana_bus.bus.api import Message, Store
    from romana_bus.events import Event

log = structlog.get_logger(__name__)

#: Words before one that cannot be used that are looked for by halving: some twenty requests each.
WORDS = 3
#: Flaws that are kept, and those of them that are said: a flood of junk must not fill logs or memory. Of one
#: that is not kept, the word before it is not found by whoever boots.
KEPT, SAID = 20_000, 10


STRANGER = "somebody wrote it who was not elected"


class Flaw(NamedTuple):
    """One message, by its place on the log, and what is wrong with it."""

    role: str
    seq: int
    subject: str
    reason: str


class Flaws:
    """Those of one consumer, as far as it has read. `own`: a stream on which it believes what the stream's
    leaders have written, and nobody else."""

    def __init__(self, consumer: str, own: str = "") -> None:
        self.consumer, self._own = consumer, own
        self.count = 0
        self._kept: dict[tuple[str, str], Flaw] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    @property
    def kept(self) -> list[Flaw]:
        """By their places on the log."""
        return sorted(self._kept.values())

    def read(self, message: Message, role: str) -> Event | None:
        """The event in a message; None where it is parked."""
        event = self._understood(message, role)
        if isinstance(event, codec.Parked):
            self.park(message, role, event.reason)
            return None
        if self._kept:
            self.mended(role, message.subject, message.seq)
        return event

    def _understood(self, message: Message, role: str) -> Event | codec.Parked:
        event = codec.decode(message.body)
        if by_leader(message, role):
            return event
        return codec.Parked(STRANGER, message.body) if role == self._own else _of_a_stranger(event, message)

    async def word_before(self, store: Store, flaw: Flaw) -> Message | None:
        """The newest message about the same that can be used, as far as the log goes back. Raises
        StreamMissing, Unavailable."""
        if any(token in ("*", ">") for token in flaw.subject.split(".")):
            return None  # it would select others
        seq = flaw.seq
        for _ in range(WORDS):
            earlier = await newest_before(store, flaw.role, flaw.subject, seq)
            if earlier is None or self._usable(earlier, flaw.role):
                return earlier
            seq = earlier.seq
        return await self._last_usable(store, flaw, seq)

    async def _last_usable(self, store: Store, flaw: Flaw, before: int) -> Message | None:
        """The same, by reading all that the log has of the subject: there is more junk than is worth looking
        for message by message."""
        found, seq = None, 0
        while (message := await store.next(flaw.role, seq, flaw.subject)) and message.seq < before:
            found, seq = message if self._usable(message, flaw.role) else found, message.seq
        return found

    def _usable(self, message: Message, role: str) -> bool:
        return not isinstance(self._understood(message, role), codec.Parked)

    def mended(self, role: str, subject: str, seq: int) -> None:
        """At `seq` something stands that is well."""
        if (flaw := self._kept.get((role, subject))) and flaw.seq < seq:
            del self._kept[role, subject]

    def park(self, message: Message, role: str, reason: str) -> None:
        self.count += 1
        metrics.PARKED.labels(self.consumer, role).inc()
        self._kept.pop((role, message.subject), None)
        self._kept[role, message.subject] = Flaw(role, message.seq, message.subject, reason)
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        if self.count <= SAID or self.count & (self.count - 1) == 0:
            log.warning(
                "parked", consumer=self.consumer, stream=role, seq=message.seq, why=reason, parked=self.count
            )


def understood(message: Message, role: str) -> Event | codec.Parked:
    """The event in a message, or why it is none. Only a leader is believed to know its subjects: what anybody
    else writes under another's, or on a stream that it is not for, is nothing."""
    event = codec.decode(message.body)
    return event if by_leader(message, role) else _of_a_stranger(event, message)


def _of_a_stranger(event: Event | codec.Parked, message: Message) -> Event | codec.Parked:
    if isinstance(event, codec.Parked):
        return event
    if isinstance(event, LeaderElected):
        return codec.Parked(STRANGER, message.body)
    try:
        subject = event.subject()
    except ValueError as error:
        return codec.Parked(f"not an event: {error}", message.body)
    if subject != message.subject:
        return codec.Parked(f"it is about {subject[:200]}, which is another entity", message.body)
    return event
