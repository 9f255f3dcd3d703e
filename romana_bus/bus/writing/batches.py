"""The batches of a fenced writer (`write.py`): how they are cut, and where their messages have to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections import deque
    from collections.abc import Collection

    from romana_bus.bus.api import Outgoing

#: Limits of one batch: messages (the server takes 1,000) and bytes.
BATCH, BATCH_BYTES = 1000, 2_000_000
#: Batches of up to so many messages are sent one by one, so a part of them may be stored: each is checked.
ONE_BY_ONE = 8


class Batch(NamedTuple):
    """One in flight. `expected`: the sequence that it has to follow; `deadline`: by the event loop's
    clock."""

    expected: int
    messages: list[Outgoing]
    answer: asyncio.Future[int]
    deadline: float

    @property
    def end(self) -> int:
        return self.expected + len(self.messages)


def batch_from(queue: deque[Outgoing]) -> list[Outgoing]:
    """Take the messages of one batch from the front of the queue."""
    messages: list[Outgoing] = []
    size = 0
    while queue and len(messages) < BATCH and size < BATCH_BYTES:
        message = queue.popleft()
        messages.append(message)
        size += len(message.body)
    return messages


def expected_ids(
    in_flight: Collection[Batch], unsure: list[Outgoing], acknowledged: int, count: int
) -> dict[int, str]:
    """Sequence -> id that has to be there, for some of the `count` messages behind `acknowledged`: every
    message that may have been stored alone, and both ends of an atomic batch. Behind all that was sent
    no message is ours."""
    expected: dict[int, str] = {}
    sizes = [len(batch.messages) for batch in in_flight] or [len(unsure)]
    first = 0
    for size in sizes:
        end = min(first + size, count)
        every = range(first, end)
        for index in every if size <= ONE_BY_ONE else {first, end - 1} & {*every}:
            expected[acknowledged + 1 + index] = unsure[index].id
        first += size
    if count > len(unsure):
        expected[acknowledged + len(unsure) + 1] = "(none)"
    return expected


def retrieve_exception(answer: asyncio.Future[int]) -> None:
    """Mark an exception as retrieved: only the oldest batch is awaited, the log shows the fate of the
    others."""
    if not answer.cancelled():
        answer.exception()
