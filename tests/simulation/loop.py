"""An event loop whose time is virtual: it never waits, and what happens depends on nothing but the seed.

A process of the simulation is a mark in the context of its tasks: the loop holds back what belongs to one
that is stopped (SIGSTOP), and drops what belongs to one that was killed: not even its `finally` runs. For
that, it reaches into what `asyncio.base_events` keeps to itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
from asyncio import events
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from romana_bus import tasks

if TYPE_CHECKING:
    import collections
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

#: Turns of the loop without time that passes: one that needs more goes round in circles.
TURNS = 200_000
START = 1000.0


class Deadlock(AssertionError):
    """All tasks wait for one another."""


class GoesRound(AssertionError):
    """Something is done again and again, and time does not pass."""


class Mark:
    """Of one process. `held`: what would run next; what a killed one would have done is kept for the end, so
    that its tasks can be ended then."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.marks.append(self)
        self._loop = loop
        self.stopped = self.killed = False
        self.context = contextvars.Context()
        self.context.run(_MARK.set, self)
        self.held: list[events.Handle] = []

    def stop(self) -> None:
        self.stopped = True

    def go_on(self) -> None:
        self.stopped = False
        held, self.held = self.held, []
        self._loop._ready.extend(held)

    def kill(self) -> None:
        self.killed = True


_MARK: contextvars.ContextVar[Mark] = contextvars.ContextVar("mark")
#: For what belongs to nobody: the network, the servers.
NEUTRAL = contextvars.Context()


def _runs(handle: Any) -> bool:
    mark = handle._context.get(_MARK)
    if mark is None or handle._loop.ending:
        return True
    if mark.killed or mark.stopped:
        mark.held.append(handle)
        return False
    return True


class _Handle(events.Handle):
    def _run(self) -> None:
        if _runs(self):
            super()._run()


class _TimerHandle(events.TimerHandle):
    """Of two that are due at the same time, the older one is first."""

    __slots__ = ("number",)
    number: int
    _when: float
    _scheduled: bool

    def _run(self) -> None:
        if _runs(self):
            super()._run()

    def __lt__(self, other: Any) -> bool:
        if self._when != other._when:
            return bool(self._when < other._when)
        return bool(self.number < other.number)


class _Selector:
    """In place of sockets: time goes to when the next timer is due."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock("no timer is set, and nothing is ready")
        self._loop.pass_time(timeout)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Seconds begin at 1,000: nothing may take 0 for never."""

    _ready: collections.deque[events.Handle]
    _scheduled: list[_TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Selector(self)
        self._now, self._turns, self._timers = START, 0, 0
        self.ending = False
        self.marks: list[Mark] = []

    def time(self) -> float:
        return self._now

    def pass_time(self, seconds: float) -> None:
        self._now += seconds
        self._turns = 0 if seconds > 0 else self._turns + 1
        if self._turns > TURNS:
            raise GoesRound(f"{TURNS:,} turns, and the time is still {self._now - START:.3f} s")

    def _call_soon(self, callback: Any, args: Any, context: Any) -> events.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> _TimerHandle:  # type: ignore[override]
        timer = _TimerHandle(when, callback, args, self, context)
        self._timers += 1
        timer.number = self._timers
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def _process_events(self, event_list: list[Any]) -> None: ...
    def _write_to_self(self) -> None: ...


def run(main: Callable[[random.Random], Coroutine[Any, Any, T]], seed: int) -> T:
    """To its end, with all that is drawn by chance drawn from the seed."""
    loop = VirtualLoop()
    chance = random.Random(seed)
    nonces = random.Random(seed + 1)
    state = random.getstate()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "monotonic", loop.time)
        patch.setattr(tasks, "nonce", lambda: f"{nonces.getrandbits(24):06x}")
        random.seed(seed)
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(main(chance))
        finally:
            _end(loop)
            asyncio.set_event_loop(None)
            random.setstate(state)


def _end(loop: VirtualLoop) -> None:
    loop.ending = True
    for mark in loop.marks:
        loop._ready.extend(mark.held)
    for _ in range(3):  # what ends may begin something
        left = asyncio.all_tasks(loop)
        if not left:
            break
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left))
        for task in left:
            if not task.cancelled():
                task.exception()
    loop.close()
