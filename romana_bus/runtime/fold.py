"""A consumer's state, folded from the tables and then from the logs. Nothing else changes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from romana_bus import metrics
from romana_bus.bus.writing.write import by_leader
from romana_bus.events import Event, LeaderElected
from romana_bus.runtime.consumer import Decider
from romana_bus.runtime.feed import Feed
from romana_bus.runtime.parked import ParkedEntry, ParkedMessages, decode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from romana_bus.bus.api import Message, Position, Store
    from romana_bus.runtime.consumer import Consumer

log = structlog.get_logger(__name__)

S = TypeVar("S")


class EvolveFailed(Exception):
    """`evolve` raised on one message. The state may be half changed: it is rebuilt without that message."""


class Fold(Generic[S]):
    """A consumer's state and its feed. `why`: the reason for this rebuild. `bad`: messages that `evolve`
    fails on, (stream, sequence) -> reason; they are skipped."""

    def __init__(
        self, store: Store, consumer: Consumer[S], why: str, bad: dict[tuple[str, int], str] | None = None
    ) -> None:
        own = getattr(consumer, "writes", "")
        self.why = why
        self.parked = ParkedMessages(consumer.name, own if getattr(consumer, "strict", False) else "")
        self.state = consumer.initial()
        self._consumer, self._own, self._bad = consumer, own, {} if bad is None else bad
        self._clock = store.clock
        self._met: set[tuple[str, int]] = set()  # those of `bad` that are still on the log
        self._tick()  # first, so that facts that have expired are not kept
        self.feed = Feed(store, consumer.reads, consumer.name, self.parked, own)
        self.term = 0
        self.newest = 0  # when the newest message of the last batch was stored, µs
        self.place = ""  # STREAM/SEQUENCE of it
        self.whole = True  # everything that our own leaders published is known, even where it was overwritten

    async def boot(self, before: Mapping[str, Position] | None = None) -> None:
        """Fold everything that is on the log now. `before`: how far the previous fold had read.
        Raises Rewound, StreamMissing, Unavailable, EvolveFailed."""
        async for role, messages in self.feed.boot():
            self._evolve(role, messages)
            await asyncio.sleep(0)
        for place in self._bad.keys() - self._met:
            del self._bad[place]
        if isinstance(self._consumer, Decider):
            for role in await self.feed.lost(before or {}):
                self._consumer.lost(self.state, role)

    def _tick(self) -> None:
        """Move the state's time forward; a standby's too, or it would keep facts that have expired."""
        if isinstance(self._consumer, Decider):
            self._consumer.tick(self.state, self._clock.now())
        elif forget_old := getattr(self._consumer, "forget_old", None):
            forget_old(self.state, self._clock.now())
        self.parked.forget_old(self._clock.now())

    def take(self) -> int:
        """Fold what has arrived; returns the number of messages. Raises Rewound, Closed, EvolveFailed."""
        count = 0
        for role, messages in self.feed.take():
            self._evolve(role, messages)
            self.newest, self.place = messages[-1].stored, f"{role}/{messages[-1].seq}"
            count += len(messages)
        self._tick()
        return count

    async def republish_overwritten(
        self, store: Store, publish: Callable[[list[tuple[Event, str]]], Awaitable[None]]
    ) -> bool:
        """Publish again the last usable message of each subject of our own stream where somebody else
        wrote an unusable message over it. False if the log no longer has one of them.
        Raises Fenced, BusError."""
        whole = True
        for entry in self.parked.kept:
            foreign = await store.get(self._own, entry.seq) if entry.role == self._own else None
            if foreign is None or by_leader(foreign, self._own):
                continue
            earlier = await self.parked.usable_before(store, entry)
            event = decode(earlier or foreign, self._own)
            if earlier is None and isinstance(event, Event):
                self._consumer.evolve(self.state, event, entry.seq)  # `decide` compares it with the facts
            if earlier is None or not isinstance(event, Event):
                whole = False
                continue
            await publish([(event, f"{self._own}/{entry.seq}")])
            self.parked.replaced(entry.role, entry.subject, entry.seq + 1)
        return whole

    def unusable(self) -> list[ParkedEntry]:
        """The messages that could not be used, or that the state refused, in log order."""
        refused = getattr(self._consumer, "refused", None)
        contradictions = refused(self.state) if refused else ()
        return sorted([*self.parked.kept, *(ParkedEntry(*message) for message in contradictions)])

    def _evolve(self, role: str, messages: list[Message]) -> None:
        evolve, state, read = self._consumer.evolve, self.state, self.parked.read
        with_body = getattr(self._consumer, "evolve_with_body", None)
        for message in messages:
            event = read(message, role)
            if event is None:
                continue
            if role == self._own and type(event) is LeaderElected:
                self.term = event.term
            if self._bad and (why := self._bad.get((role, message.seq))):
                self._met.add((role, message.seq))
                self.parked.park(message, role, why)
                continue
            try:
                if with_body:
                    with_body(state, event, message.seq, message.body)
                else:
                    evolve(state, event, message.seq)
            except Exception as error:
                why = f"{self._consumer.name} failed on it: {type(error).__name__}: {error}"
                self._bad[role, message.seq] = why
                log.exception("a message could not be folded", stream=role, seq=message.seq)
                raise EvolveFailed(why) from error
        metrics.FOLDED.labels(self._consumer.name, role).inc(len(messages))
