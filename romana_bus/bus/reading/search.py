"""Binary search in a log: some twenty requests, whatever the log's size."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romana_bus.bus.api import Message, Store


async def newest_before(store: Store, role: str, subject: str, seq: int) -> Message | None:
    """The newest message of a subject that the log has before `seq`. Raises StreamMissing, Unavailable."""
    newest = await store.next(role, 0, subject)
    if newest is None or newest.seq >= seq:
        return None
    first, behind = newest.seq + 1, seq
    while first < behind:
        middle = (first + behind) // 2
        message = await store.next(role, middle - 1, subject)
        if message is None or message.seq >= seq:
            behind = middle
        else:
            newest, first = message, message.seq + 1
    return newest


async def at_time(store: Store, role: str, time: int) -> int:
    """The sequence of the first message that was stored at `time` (µs, by the server's clock) or later; if
    there is none, the one behind the last. Only approximate if the server's clock was set back.
    Raises StreamMissing, Unavailable."""
    tail = await store.tail(role)
    first, behind = tail.first, tail.last + 1
    while first < behind:
        middle = (first + behind) // 2
        message = await store.next(role, middle - 1)
        if message is None or message.seq >= behind or message.stored >= time:
            behind = middle
        else:
            first = message.seq + 1
    message = await store.next(role, first - 1)
    return message.seq if message else tail.last + 1
