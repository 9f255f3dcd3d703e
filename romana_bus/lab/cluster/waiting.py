"""Waits for conditions that depend on processes of the lab, and fails at once if one of them has ended."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from romana_bus.errors import Failed
from romana_bus.lab.machine import processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.lab.machine.directory import Lab

#: Seconds that a step may take on a busy machine.
WITHIN = 60.0
_LOOK_EVERY = 0.05


async def until(
    lab: Lab, what: str, condition: Callable[[], Any], *needed: str, within: float = WITHIN
) -> Any:
    """Wait until `condition()`, or its awaited result, is true; returns that value. `what`: completes
    "waiting for ..." in the error. `needed`: the processes that the condition depends on. `within`: seconds.
    Raises Failed on timeout, or when a needed process has ended."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + within
    while True:
        result = condition()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        check(lab, *needed)
        if loop.time() > ends_at:
            raise Failed(f"timed out after {within:g} s waiting for {what}; see {lab.directory}/logs")
        await asyncio.sleep(_LOOK_EVERY)


def check(lab: Lab, *names: str) -> None:
    """Raises Failed if one of the processes has ended."""
    records = processes.recorded(lab)
    for name in names:
        if name not in records or not records[name].alive:
            words = processes.last_words(lab, name)
            raise Failed(f"{name} has ended: {words} (see {lab.directory}/logs/{name}.log)")


async def ended(lab: Lab, *names: str) -> None:
    """Wait until these processes have ended. Raises Failed."""

    def over() -> bool:
        records = processes.recorded(lab)
        return not any(records[name].alive for name in names if name in records)

    await until(lab, f"{', '.join(names)} to end", over)
