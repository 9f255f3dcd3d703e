"""The IPAM state of the log now, for commands that read it once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from romana_bus.consumers.ipam import READS, fresh
from romana_bus.ipam import State, evolve
from romana_bus.runtime.feed import read_once
from romana_bus.runtime.parked import ParkedMessages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from romana_bus.bus.api import Store

    Covers = Mapping[str, int]


async def ipam_state(store: Store, covers: Covers | None = None) -> State:
    """Fold everything that is on the log at the time of the call: with the settings on the log, or the
    defaults if there are none. `covers`: node -> sequence of the stream IPAM that its reports cover; the
    state shows which records are newer. Raises BusError."""
    parked, state = ParkedMessages("show"), fresh(store.clock.now())
    state.covers = covers or {}
    async for role, messages in read_once(store, READS, "show", parked):
        for message in messages:
            if event := parked.read(message, role):
                try:
                    evolve(state, event, message.seq)
                except Exception as error:  # noqa: BLE001  the decider parks such a message too
                    parked.park(message, role, f"it cannot be folded: {type(error).__name__}: {error}")
        await asyncio.sleep(0)  # an audit runs beside a watch, whose lease has to be renewed
    return state
