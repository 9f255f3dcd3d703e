"""A consumer's state, built from the tables and then the logs, and the one way in which anything gets into
it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from romana_bus import metrics
from romana_bus.bus.write import by_leader
from romana_bus.events import Event, LeaderElected
from romana_bus.runtime.consumer import Decider
from romana_bus.runtime.feed import Feed
from romana_bus.runtime.parked import Flaw, Flaws, understood

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from romana_bus.bus.api import Message, Position, Store
    from romana_bus.runtime.consumer import Consumer

log = structlog.get_logger(__name__)

S = TypeVar("S")


class Failing(Exception):
    """`evolve` failed on one message, so the state may be half changed: it is built anew without that one."""


class Fold(Generic[S]):
    """A consumer's state, and the one way in which anything gets into it. `why`: why it begins anew. `bad`:
    messages, by stream and sequence, that `evolve` fails on, and why: they are left out."""

    def __init__(
        self, store: Store, consumer: Consumer[S], why: str, bad: dict[tuple[str, int], str] | None = None
    ) -> None:
        own = getattr(consumer, "writes", "")
        self.why = why
        self.flaws = Flaws(consumer.name, own if getattr(consumer, "strict", False) else "")
        self.state = consumer.initial()
        self._consumer, self._own, self._bad = consumer, own, {} if bad is None else bad
        self._clock = store.clock
        self._time_passes()  # what is over when it is folded need not be remembered at all
        self.feed = Feed(store, consumer.reads, consumer.name, self.flaws, own)
        self.term = 0
        self.newest = 0  # when the newest message of the last batch was stored, µs
        self.place = ""  # STREAM/SEQUENCE of it
        self.whole = True  # all that our own leaders have said is known, whatever others wrote over it

    async def boot(self, before: Mapping[str, Position] | None = None) -> None:
        """`before`: how far the last one had read. Raises Rewound, StreamMissing, Unavailable, Failing."""
        async for role, messages in self.feed.boot():
            self._evolve(role, messages)
            await asyncio.sleep(0)
        if isinstance(self._consumer, Decider):
            for role in await self.feed.lost(before or {}):
                self._consumer.lost(self.state, role)

    def _time_passes(self) -> None:
        """For a decider: also for one that stands by, or it would remember what is long over."""
        if isinstance(self._consumer, Decider):
            self._consumer.tick(self.state, self._clock.now())

    def take(self) -> int:
        """Fold what has come until now; gives how many. Raises Rewound, Closed, Failing."""
        count = 0
        for role, messages in self.feed.take():
            self._evolve(role, messages)
            self.newest, self.place = messages[-1].stored, f"{role}/{messages[-1].seq}"
            count += len(messages)
        self._time_passes()
        return count

    async def say_again(
        self, store: Store, publish: Callable[[list[tuple[Event, str]]], Awaitable[None]]
    ) -> bool:
        """Where somebody else's message stands on our own stream, and cannot be used, the word before it is
        said again. False where the log has none any more. Raises Fenced, BusError."""
        whole = True
        for flaw in self.flaws.kept:
            standing = await store.get(self._own, flaw.seq) if flaw.role == self._own else None
            if standing is None or by_leader(standing, self._own):
                continue
            earlier = await self.flaws.word_before(store, flaw)
            event = understood(earlier or standing, self._own)
            if earlier is None and isinstance(event, Event):
                self._consumer.evolve(self.state, event, flaw.seq)  # to be held against the truth
            if earlier is None or not isinstance(event, Event):
                whole = False
                continue
            await publish([(event, f"{self._own}/{flaw.seq}")])
            self.flaws.mended(flaw.role, flaw.subject, flaw.seq + 1)
        return whole

    def found(self) -> list[Flaw]:
        """What of the log could not be used, by its place there."""
        refused = getattr(self._consumer, "refused", None)
        return sorted([*self.flaws.kept, *(Flaw(*one) for one in (refused(self.state) if refused else ()))])

    def _evolve(self, role: str, messages: list[Message]) -> None:
        evolve, state, read = self._consumer.evolve, self.state, self.flaws.read
        for message in messages:
            event = read(message, role)
            if event is None:
                continue
            if role == self._own and type(event) is LeaderElected:
                self.term = event.term
            if self._bad and (why := self._bad.get((role, message.seq))):
                self.flaws.park(message, role, why)
                continue
            try:
                evolve(state, event, message.seq)
            except Exception as error:
                why = f"{self._consumer.name} failed on it: {type(error).__name__}: {error}"
                self._bad[role, message.seq] = why
                log.exception("a message could not be folded", stream=role, seq=message.seq)
                raise Failing(why) from error
        metrics.FOLDED.labels(self._consumer.name, role).inc(len(messages))
