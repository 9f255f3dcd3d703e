"""The IPAM state of the log now, for commands that read it once."""

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
    """Fold everything that is on the log at the time of the call. `covers`: node -> sequence of the stream
    IPAM that its reports cover; the state shows which records are newer. Raises BusError.

    The default network is an option of the decider and is not on the log. It is derived from the groups that
    were opened in it, which are on the log: each is a slot of it."""
    read = await _read(store, Settings(), covers)
    if read.network and not read.state.documented:
        read = await _read(store, Settings(default_network=read.network), covers)
    return read.state


class _Reading:
    """`network`: the network of the newest group; '' if it is the one in the settings."""

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
                except Exception as error:  # noqa: BLE001  the decider parks such a message too
                    self.parked.park(message, role, f"it cannot be folded: {type(error).__name__}: {error}")
                if isinstance(event, GroupOpened) and event.network == NETWORK:
                    network = _around(parse_prefix(event.prefix))
                    self.network = "" if network == self.state.settings.default_network else network


def _around(slot: Prefix) -> str:
    """The default network of which a group's prefix is a slot."""
    length = max(0, slot.length - SLOT_BITS)
    base = slot.base >> (slot.width - length) << (slot.width - length)
    return str(Prefix(slot.width, base, length))


async def _read(store: Store, settings: Settings, covers: Covers | None) -> _Reading:
    reading = _Reading(settings, covers, store.clock.now())
    async for role, messages in read_once(store, READS, "show", reading.parked):
        reading.fold(role, messages)
        await asyncio.sleep(0)  # an audit runs beside a watch, whose lease has to be renewed
    return reading
