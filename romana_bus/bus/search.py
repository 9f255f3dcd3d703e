"""Finding a place in a log, by halving."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romana_bus.bus.api import Message, Store


async def newest_before(store: Store, role: str, subject: str, seq: int) -> Message | None:
    """The newest message of a subject that the log has before `seq`. Raises StreamMissing, Unavailable."""
    found = await store.next(role, 0, subject)
    if found is None or found.seq >= seq:
        return None
    first, behind = found.seq + 1, seq
    while first < behind:
        middle = (first + behind) // 2
        message = await store.next(role, middle - 1, subject)
        if message is None or message.seq >= seq:
            behind = middle
        else:
            found, first = message, message.seq + 1
    return found


async def at_time(store: Store, role: str, time: int) -> int:
    """The sequence of the first message that was stored at `time` (µs, by the server's clock) or later; the
    one behind the last where there is none. By halving: it needs some twenty requests, whatever the log's
    size. Where the server's clock was set back, it is a place around that. Raises StreamMissing,
    Unavailable."""
    tail = await store.tail(role)
    first, behind = tail.first, tail.last + 1
    while first < behind:
        middle = (first + behind) // 2
        message = await store.next(role, middle - 1)
        if message is None or message.seq >= behind or message.stored >= time:
            behind = middle
        else:
            first = message.seq + 1
    found = await store.next(role, first - 1)
    return found.seq if found else tail.last + 1
