"""The address state as the log has it now, for commands that look once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from romana_bus.consumers.ipam import READS, fresh
from romana_bus.events import GroupOpened
from romana_bus.feed import Feed, Read, opened
from romana_bus.inet import Prefix, parse_prefix
from romana_bus.ipam import Settings, State, evolve
from romana_bus.ipam.default import NETWORK, SLOT_BITS

if TYPE_CHECKING:
    from romana_bus.bus.api import Message, Store


async def ipam_state(store: Store) -> State:
    """All that was on the log when it was called. Raises BusError.

    The network that is used without a topology is an option of whoever decides, and not on the log; but
    the groups that were opened in it are, and each is a slot of it."""
    looked = await _look(store, Settings())
    if looked.network and not looked.state.documented:
        looked = await _look(store, Settings(default_network=looked.network))
    return looked.state


class _Look:
    """`network`: the one that the newest group was opened in, '' if that is the one that is assumed."""

    def __init__(self, settings: Settings) -> None:
        self.state = fresh(settings)
        self.network = ""

    def fold(self, role: str, messages: list[Message]) -> None:
        for message in messages:
            if event := opened(message, "show", role):
                evolve(self.state, event, message.seq)
                if isinstance(event, GroupOpened) and event.network == NETWORK:
                    network = _around(parse_prefix(event.prefix))
                    self.network = "" if network == self.state.settings.default_network else network


def _around(slot: Prefix) -> str:
    """The network that a group's prefix is a slot of."""
    length = max(0, slot.length - SLOT_BITS)
    base = slot.base >> (slot.width - length) << (slot.width - length)
    return str(Prefix(slot.width, base, length))


async def _look(store: Store, settings: Settings) -> _Look:
    look = _Look(settings)
    ends = {read: (await store.tail(read.role)).last for read in READS}
    feed = Feed(store, READS, "show")
    try:
        async for role, messages in feed.boot():
            look.fold(role, messages)
            await asyncio.sleep(0)  # an audit does this beside a watch, whose lease has to be renewed
        for read, end in ends.items():
            while await _missing(store, feed, read, end):
                await feed.wait(0.2)
                for one, messages in feed.take():
                    look.fold(one, messages)
    finally:
        await feed.close()
    return look


async def _missing(store: Store, feed: Feed, read: Read, end: int) -> bool:
    """Whether something up to `end` has still to be read: the table may be a moment behind the log."""
    at = feed.positions[read.role].seq
    if at >= end:
        return False
    following = await store.next(read.role, at, read.under)
    return following is not None and following.seq <= end
