"""An event loop whose time is virtual: it never waits, and what happens depends on nothing but the seed."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from romana_bus import tasks

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

#: Turns of the loop of one run: one that needs more goes round in circles.
TURNS = 2_000_000


class NobodyWillWake(AssertionError):
    """All tasks wait for one another."""


class GoesRound(AssertionError):
    """Something is done again and again, and time does not pass."""


class _Selector:
    """In place of sockets: time goes to when the next timer is due."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise NobodyWillWake("no timer is set, and nothing is ready")
        self._loop.pass_time(timeout)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Seconds begin at 1,000: nothing may take 0 for never."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Selector(self)
        self._now, self._turns = 1000.0, 0

    def time(self) -> float:
        return self._now

    def pass_time(self, seconds: float) -> None:
        self._now += seconds
        self._turns += 1
        if self._turns > TURNS:
            raise GoesRound(f"{TURNS:,} turns, and the time is only {self._now - 1000.0:.3f} s")

    def _process_events(self, event_list: list[Any]) -> None: ...
    def _write_to_self(self) -> None: ...


def run(main: Coroutine[Any, Any, T], seed: int) -> T:
    """To its end, with all that is drawn by chance drawn from the seed."""
    loop = VirtualLoop()
    chance = random.Random(seed)
    state = random.getstate()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "monotonic", loop.time)
        patch.setattr(tasks, "nonce", lambda: f"{chance.getrandbits(24):06x}")
        random.seed(seed)
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(main)
        finally:
            _end(loop)
            asyncio.set_event_loop(None)
            random.setstate(state)


def _end(loop: VirtualLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()
