"""Keeps a leader from writing faster than the table of its stream follows, where the log has a limit.

A table reads its log as any mirror does. What a log at its limit drops before its table has read it, the
table never has: measured, a log of 8 MB lost two thirds of 100,000 messages that were written in five
seconds. So a writer counts the bytes that the table has not read, and waits at a quarter of the log's limit:
by then three predecessors may have left as much.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romana_bus.bus.api import Outgoing, Store

#: Bytes of a stored message beside subject and body: headers and the server's own, rounded up.
OVERHEAD = 320
#: Sent messages are counted in so many parts of the limit.
PARTS = 256
#: The part of the limit that may be unread, and seconds between two looks at the table.
UNREAD, PAUSE = 4, 0.05


class TableLag:
    """The unread bytes of the stream `role`, of what one writer wrote."""

    def __init__(self, store: Store, role: str) -> None:
        self._store, self._role = store, role
        self._sizes: deque[tuple[int, int]] = deque()  # last sequence and bytes of each part
        self._unread = 0

    def wrote(self, last: int, messages: list[Outgoing]) -> None:
        """Count messages that were sent; `last`: the last one's sequence."""
        if (limit := self._store.limit(self._role)) <= 0:
            return
        size = sum(len(message.body) + len(message.subject) + OVERHEAD for message in messages)
        self._unread += size
        if self._sizes and self._sizes[-1][1] < limit // PARTS:
            size += self._sizes.pop()[1]
        self._sizes.append((last, size))

    def uncount(self, behind: int) -> None:
        """Messages behind this sequence were not stored, and are sent again. A part that has stored messages
        too stays, for the table to pass."""
        while self._sizes and self._sizes[-1][0] > behind:
            _, size = self._sizes.pop()
            if not self._sizes or self._sizes[-1][0] < behind:
                self._sizes.append((behind, size))
                return
            self._unread -= size

    @property
    def full(self) -> bool:
        """Whether to wait before more is written."""
        limit = self._store.limit(self._role)
        return 0 < limit < UNREAD * self._unread

    async def look(self) -> bool:
        """Ask how far the table has read; returns whether it went on. Waits a moment if it did not. Raises
        Unavailable, StreamMissing."""
        end, before = await self._store.table_end(self._role), self._unread
        while self._sizes and self._sizes[0][0] <= end:
            self._unread -= self._sizes.popleft()[1]
        if self.full:
            await asyncio.sleep(PAUSE)
        return self._unread < before
