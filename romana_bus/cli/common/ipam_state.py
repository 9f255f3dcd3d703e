"""The address state as the log has it now, for commands that look once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from romana_bus.consumers.ipam import READS, fresh
from romana_bus.events import GroupOpened
from romana_bus.inet import Prefix, parse_prefix
from romana_bus.ipam import Settings, State, evolve
from romana_bus.ipam.topology.default import NETWORK, SLOT_BITS
from romana_bus.runtime.feed import read_once
from romana_bus.runtime.parked import ParkedMessages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from romana_bus.bus.api import Message, Store

    Covers = Mapping[str, int]


async def ipam_state(store: Store, covers: Covers | None = None) -> State:
    """All that was on the log when it was called. `covers`: node -> how far its reports contain IPAM's log;
    the state says which records are younger. Raises BusError.

    The network that is used without a topology is an option of whoever decides, and not on the log; but
    the groups that were opened in it are, and each is a slot of it."""
    looked = await _look(store, Settings(), covers)
    if looked.network and not looked.state.documented:
        looked = await _look(store, Settings(default_network=looked.network), covers)
    return looked.state


class _Look:
    """`network`: the one that the newest group was opened in, '' if that is the one that is assumed."""

    def __init__(self, settings: Settings, covers: Covers | None, now: int) -> None:
        self.parked = ParkedMessages("show")
        self.state = fresh(settings, now)
        self.state.covers = covers or {}
        self.network = ""

    def fold(self, role: str, messages: list[Message]) -> None:
        for message in messages:
            if event := self.parked.read(message, role):
                try:
                    evolve(self.state, event, message.seq)
                except Exception as error:  # noqa: BLE001  one that nobody could fold, as the decider says too
                    self.parked.park(message, role, f"it cannot be folded: {type(error).__name__}: {error}")
                if isinstance(event, GroupOpened) and event.network == NETWORK:
                    network = _around(parse_prefix(event.prefix))
                    self.network = "" if network == self.state.settings.default_network else network


def _around(slot: Prefix) -> str:
    """The network that a group's prefix is a slot of."""
    length = max(0, slot.length - SLOT_BITS)
    base = slot.base >> (slot.width - length) << (slot.width - length)
    return str(Prefix(slot.width, base, length))


async def _look(store: Store, settings: Settings, covers: Covers | None) -> _Look:
    look = _Look(settings, covers, store.clock.now())
    async for role, messages in read_once(store, READS, "show", look.parked):
        look.fold(role, messages)
        await asyncio.sleep(0)  # an audit does this beside a watch, whose lease has to be renewed
    return look
