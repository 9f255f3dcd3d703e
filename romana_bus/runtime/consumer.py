"""The kinds of consumers: Decider, Reconciler, Projection. Each is its functions and the streams it reads.

`loop.py` and `reconcile.py` run them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from romana_bus.bus.api import Store
    from romana_bus.events import Event
    from romana_bus.runtime.feed import Read

S = TypeVar("S")


@dataclass(frozen=True)
class Decider(Generic[S]):
    """A consumer whose output is events on one stream, of which it is the only writer.

    `evolve(state, event, seq)` folds one event. `tick(state, now)` moves the time (µs) forward.
    `decide(state)` yields the events that are due, in parts, each event with its cause. They are already
    folded into the state, so a second call yields nothing. `wake(state)`: when to decide again without a new
    event (µs), or None. `refused(state)`: messages that contradict the known state, as (stream, sequence,
    subject, reason). `lost(state, stream)`: the stream lost messages that were read before, so it may now
    be behind the state. `prepare(store, state)`: called after each election, before the first decision; what
    it publishes it also folds. `unneeded(state, stream, subjects)`: of these subjects, older than the log's
    history, those that the table of a stream without a leader needs no more."""

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
    prepare: Callable[[Store, S], Awaitable[None]] | None = None
    unneeded: Callable[[S, str, list[str]], Iterable[str]] | None = None


class ResyncTrigger:
    """Asks a reconciler for a full resync, because the outside may have changed."""

    def __init__(self) -> None:
        self.requested = False
        self._wake: Callable[[], None] | None = None

    def request(self) -> None:
        self.requested = True
        if self._wake:
            self._wake()

    def on_request(self, wake: Callable[[], None] | None) -> None:
        """Call `wake` for every request from now on; None: no longer."""
        self._wake = wake


@dataclass(frozen=True)
class Reconciler(Generic[S]):
    """A consumer whose output is outside the log (routes, for example): it makes actual what is desired.

    `observe(state, full)` reads the actual state: all of it, or, for a batch of events, only what those
    events concern; the rest counts as unchanged. `plan(state, actual)` is pure and returns a delta, which is
    false when there is nothing to do. `apply(delta)` returns the number of changes. All may be repeated.
    When apply raises, it has done what it could; the error is reported, and a full resync follows with
    backoff. `standing(state)`: counts that reports publish, by name. `refused(state)`: what of the desired
    state is refused, the first few by name, with the reason.

    A full resync runs at the start, after a failure, every `tick` seconds, and on a request of `resync`.
    Between two requested ones there is a pause of `min_interval` seconds and of at least ten times the
    duration of the last one."""

    name: str
    node: str
    reads: Sequence[Read]
    initial: Callable[[], S]
    evolve: Callable[[S, Event, int], None]
    observe: Callable[[S, bool], Awaitable[Any]]
    plan: Callable[[S, Any], Any]
    apply: Callable[[Any], Awaitable[int]]
    standing: Callable[[S], dict[str, int]] = lambda _: {}
    refused: Callable[[S], dict[str, str]] = lambda _: {}
    resync: ResyncTrigger = field(default_factory=ResyncTrigger)
    tick: float = 60.0
    min_interval: float = 0.0


@dataclass(frozen=True)
class Projection(Generic[S]):
    """A consumer whose only output is its state. `changed(state)` is called after every batch."""

    name: str
    reads: Sequence[Read]
    initial: Callable[[], S]
    evolve: Callable[[S, Event, int], None]
    changed: Callable[[S], Awaitable[None]]


class Consumer(Protocol[S]):
    """What all consumers have in common. One that needs an event's stored bytes also has
    `evolve_with_body(state, event, seq, body)`, which is called instead of `evolve` where they are known."""

    @property
    def name(self) -> str: ...
    @property
    def reads(self) -> Sequence[Read]: ...
    @property
    def initial(self) -> Callable[[], S]: ...
    @property
    def evolve(self) -> Callable[[S, Event, int], None]: ...


class Writer(Consumer[S], Protocol[S]):
    """A consumer that writes a stream of its own."""

    @property
    def writes(self) -> str: ...
