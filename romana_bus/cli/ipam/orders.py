"""Orders on the log to end addresses: waits until they are carried out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from romana_bus.consumers.audit import is_carried_out
from romana_bus.events import AddressDisowned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romana_bus.bus.api import Store
    from romana_bus.events import Event

#: Seconds to wait until an order is carried out.
CARRIED_OUT_WITHIN = 5.0


async def pending_orders(store: Store, orders: Sequence[Event]) -> list[AddressDisowned]:
    """Wait some seconds; returns the orders that were not carried out by then. Raises BusError."""
    left = [order for order in orders if isinstance(order, AddressDisowned)]
    loop = asyncio.get_running_loop()
    until = loop.time() + CARRIED_OUT_WITHIN
    while (
        left := [order for order in left if not await is_carried_out(store, order)]
    ) and loop.time() < until:
        await asyncio.sleep(0.1)
    return left
