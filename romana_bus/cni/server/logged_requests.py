"""The open requests of this node on the log: each SandboxRequested of its pods without a SandboxRemoved.

Reads `node.<node>.cni.>` after each new connection, which may lead to another log. From there on it follows
what the outbox finds and stores: besides the outbox only the audit writes there, to end requests of deleted
nodes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from romana_bus.cni.server.journal import is_settled
from romana_bus.events import NODE, SandboxRequested, token
from romana_bus.runtime.feed import Read, read_once
from romana_bus.runtime.parked import ParkedMessages

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.events import SandboxEvent

#: Seconds for which a decision may still arrive that was taken before the log had our request.
GRACE = 1.0


class Requests:
    """Subject (`node.<node>.cni.…`) -> open request on the log of this node: exact while `known`, else as of
    the last read. Only one task may call `read` at a time: that of the outbox."""

    def __init__(self, node: str) -> None:
        self._under = f"node.{token(node)}.cni.>"
        self._open: dict[str, SandboxRequested] = {}
        self._settled: dict[str, float] = {}  # when no earlier decision can arrive any more
        self._store: Store | None = None
        self._generation: int | None = None  # of `_store` when they were read
        self._outdated = False

    @property
    def known(self) -> bool:
        """Whether these are exactly the requests on the log."""
        store = self._store
        return store is not None and self._generation == store.generation and not self._outdated

    def all(self) -> list[SandboxRequested]:
        """All open requests, in no particular order."""
        return list(self._open.values())

    def of(self, subject: str) -> SandboxRequested | None:
        """The open request of a subject, or None."""
        return self._open.get(subject)

    def stands(self, event: SandboxEvent) -> bool:
        """Whether the log already says what the event says (`journal.is_settled`), and GRACE seconds have
        passed, so that no decision about an earlier event can arrive any more."""
        subject = event.subject()
        return self._settled.get(subject, 0.0) <= time.monotonic() and is_settled(
            event, self._open.get(subject)
        )

    def outdate(self) -> None:
        """Mark the requests as not known, so that `read` reads them again: the log may be another one."""
        self._outdated = True

    async def read(self, store: Store) -> None:
        """Read the requests, unless they are known. Raises Rewound, StreamMissing, Unavailable."""
        if store is not self._store:
            self._store, self._generation = store, None
        while not self.known:
            generation, self._generation, self._outdated = store.generation, None, False
            newest: dict[str, object] = {}
            parked = ParkedMessages("sandboxes")
            async for _, messages in read_once(store, [Read(NODE, self._under)], "sandboxes", parked):
                newest |= {
                    message.subject: event for message in messages if (event := parked.read(message, NODE))
                }
            self._open, self._settled = {}, {}
            for subject, request in newest.items():
                if isinstance(request, SandboxRequested):
                    self._open[subject] = request
            self._generation = generation

    def remember(self, subject: str, newest: object, *, first: bool = False) -> None:
        """Set the newest event of a subject. `first`: it was just stored as the first event of its subject,
        so there is no earlier decision to wait for."""
        if not isinstance(newest, SandboxRequested):
            self._open.pop(subject, None)
            self._settled.pop(subject, None)
        elif self._open.get(subject) != newest:
            self._open[subject] = newest
            self._settled[subject] = time.monotonic() + (0.0 if first else GRACE)
