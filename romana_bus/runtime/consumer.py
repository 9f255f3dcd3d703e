"""What a consumer is: its functions and what it reads. What runs it is in `loop.py` and `reconcile.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from romana_bus.events import Event
    from romana_bus.runtime.feed import Read

S = TypeVar("S")


@dataclass(frozen=True)
class Decider(Generic[S]):
    """Its output is events on one stream, which it alone writes.

    `evolve(state, event, seq)`; `tick(state, now)`: time passes; `decide(state)`: all that is due, in
    parts of events with their causes, folded into the state already, nothing when asked again;
    `wake(state)`: when to decide again without a new event (µs), or None; `refused(state)`: what of the log
    contradicts what was known, as (stream, sequence, subject, why); `lost(state, stream)`: that stream has
    lost messages that were read before, so what it says now may be behind."""

    name: str
    writes: str
    reads: Sequence[Read]
    initial: Callable[[], S]
    evolve: Callable[[S, Event, int], None]
    tick: Callable[[S, int], None]
    decide: Callable[[S], Iterable[Sequence[tuple[Event, str]]]]
    wake: Callable[[S], int | None]
    refused: Callable[[S], Iterable[tuple[str, int, str, str]]] = lambda _: ()
    lost: Callable[[S, str], None] = lambda *_: None


class Bell:
    """How a reconciler hears that the outside may have changed: whoever learns of it rings."""

    def __init__(self) -> None:
        self.rung = False
        self._wake: Callable[[], None] | None = None

    def ring(self) -> None:
        self.rung = True
        if self._wake:
            self._wake()

    def wakes(self, wake: Callable[[], None] | None) -> None:
        self._wake = wake


@dataclass(frozen=True)
class Reconciler(Generic[S]):
    """Its output is the outside world, which it makes as the log wants it.

    `observe(state, full)` reads what is outside: all of it, or, for a batch of events, no more than those
    raise questions about; what is not read is believed to be as it was left. `plan(state, actual)` is pure
    and gives a delta, false when nothing is to be done; `apply(delta)` makes it so and gives the number of
    changes. All may be repeated. What apply raises is reported and tried again with backoff, after a full
    look; what it could do it has done. `standing(state)`: how it stands outside, for reports.

    Full looks: at the start, after a failure, every `tick` seconds, and when the `bell` rings, but then with
    a pause between two of them of `at_least` seconds and of ten times what the last one took."""

    name: str
    node: str
    reads: Sequence[Read]
    initial: Callable[[], S]
    evolve: Callable[[S, Event, int], None]
    observe: Callable[[S, bool], Awaitable[Any]]
    plan: Callable[[S, Any], Any]
    apply: Callable[[Any], Awaitable[int]]
    standing: Callable[[S], dict[str, int]] = lambda _: {}
    bell: Bell = field(default_factory=Bell)
    tick: float = 60.0
    at_least: float = 0.0


@dataclass(frozen=True)
class Projection(Generic[S]):
    """It has no output but its state, which somebody looks at. `changed(state)` after every batch."""

    name: str
    reads: Sequence[Read]
    initial: Callable[[], S]
    evolve: Callable[[S, Event, int], None]
    changed: Callable[[S], Awaitable[None]]


class Consumer(Protocol[S]):
    """What all of them have in common."""

    @property
    def name(self) -> str: ...
    @property
    def reads(self) -> Sequence[Read]: ...
    @property
    def initial(self) -> Callable[[], S]: ...
    @property
    def evolve(self) -> Callable[[S, Event, int], None]: ...


class Writer(Consumer[S], Protocol[S]):
    """One that has a stream of its own."""

    @property
    def writes(self) -> str: ...
