"""The recent growth of usage, read from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.bus.reading.search import at_time
from romana_bus.bus.reading.tail import tail
from romana_bus.events import IPAM, AddressEvent, codec
from romana_bus.ipam.report.growth import Ledger, window

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.ipam.report.growth import Growth

#: The most events that are read, which takes some seconds. If the log has more, the window is shorter.
MOST = 500_000


async def growth(store: Store, hours: float) -> Growth | None:
    """The growth of the last `hours`, or of the part on the log; None if that is too short. Raises
    BusError."""
    end = await store.tail(IPAM)
    first = await store.next(IPAM, 0)
    until = store.clock.now()
    start = window(until, hours, first.stored if first else until)
    if start is None:
        return None
    seq = await at_time(store, IPAM, start)
    if seq <= end.last - MOST and (later := await store.next(IPAM, end.last - MOST)):
        seq, start = later.seq, later.stored
    ledger = Ledger()
    if seq <= end.last:
        async for batch in tail(store, (IPAM,), end.last - seq + 1, follow=False):
            for _, message in batch:
                event = codec.decode(message.body)
                if isinstance(event, AddressEvent):
                    ledger.fold(event, message.stored)
    return ledger.growth(start, until)
