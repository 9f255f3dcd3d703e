"""Signs of life: reports that are not stored. Whoever wants to know asks, and every agent answers with what
it would report now.

The log keeps reports of what has changed. That nothing has changed, and how far each of thousands of agents
has read, would be most of what is stored; and an answer is newer than any report. An answer is a report on
`alive.<subject of the report>`; the question is on `alive.ask`. Both are plain NATS messages and may be lost,
so the question is asked twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from romana_bus.bus.parts import ALIVE
from romana_bus.events import codec
from romana_bus.events.node import Report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from romana_bus.bus.api import Store

ASK = f"{ALIVE}.ask"
#: Seconds that answers may take: half of it, and as long again after the second question.
WITHIN = 2.0


async def answer(store: Store, current: Callable[[], Report | None]) -> Callable[[], Awaitable[None]]:
    """Answer each question with `current()`, or not at all if that is None; returns what ends that. Raises
    Unavailable."""

    def asked(_subject: str, _body: bytes) -> None:
        if (report := current()) is not None:
            store.say(f"{ALIVE}.{report.subject()}", codec.encode(report))

    return await store.hear(ASK, asked)


async def ask(store: Store, expected: Collection[str] = (), within: float = WITHIN) -> dict[str, Report]:
    """What the agents answer: subject of the report -> report. `expected`: the subjects that are waited for,
    for `within` seconds at most. Raises Unavailable."""
    answers: dict[str, Report] = {}
    missing, complete = set(expected), asyncio.Event()

    def heard(subject: str, body: bytes) -> None:
        report = codec.decode(body)
        if isinstance(report, Report) and subject == f"{ALIVE}.{report.subject()}":
            answers[report.subject()] = report
            missing.discard(report.subject())
            if expected and not missing:
                complete.set()

    end = await store.hear(f"{ALIVE}.node.>", heard)
    try:
        for _ in range(2):
            store.say(ASK, b"")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within / 2):
                    await complete.wait()
                break
    finally:
        await end()
    return answers
