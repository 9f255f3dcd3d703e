"""The address state as the log has it now, for commands that look once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.consumers.ipam import READS, fresh
from romana_bus.feed import Feed, opened
from romana_bus.ipam import Settings, State, evolve

if TYPE_CHECKING:
    from romana_bus.bus.api import Message, Store


async def ipam_state(store: Store, settings: Settings | None = None) -> State:
    """All that was on the log when it was called. Raises BusError."""
    state = fresh(settings or Settings())
    ends = {role: (await store.tail(role)).last for role, _ in READS}
    feed = Feed(store, READS, "show")
    try:
        async for role, messages in feed.boot():
            _fold(state, role, messages)
        for role, end in ends.items():
            while await _missing(store, feed, role, end):
                await feed.wait(0.2)
                for one, messages in feed.take():
                    _fold(state, one, messages)
    finally:
        await feed.close()
    return state


def _fold(state: State, role: str, messages: list[Message]) -> None:
    for message in messages:
        if event := opened(message, "show", role):
            evolve(state, event, message.seq)


async def _missing(store: Store, feed: Feed, role: str, end: int) -> bool:
    """Whether something up to `end` has still to be read: the table may be a moment behind the log."""
    at = feed.positions[role].seq
    if at >= end:
        return False
    following = await store.next(role, at)
    return following is not None and following.seq <= end
