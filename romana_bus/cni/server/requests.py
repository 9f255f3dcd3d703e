"""What this node has asked for, as the log has it: each SandboxRequested of its pods that has no end yet.

Reads `node.<node>.cni.>` over each new connection, behind which may be another log. From there on it is what
the outbox finds and stores: besides it only the audit writes there, which ends what a node asked for that is
gone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from romana_bus.cni.server.journal import over
from romana_bus.events import NODE, SandboxRequested, token
from romana_bus.runtime.feed import Read, read_once
from romana_bus.runtime.parked import ParkedMessages

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.events import SandboxEvent

#: Seconds for which a decision may be on its way that was taken before the log had our request.
GRACE = 1.0


class Requests:
    def __init__(self, node: str) -> None:
        self._under = f"node.{token(node)}.cni.>"
        self._there: dict[str, SandboxRequested] = {}
        self._settled: dict[str, float] = {}  # when no decision is on its way that came before them
        self._store: Store | None = None
        self._generation: int | None = None  # of `_store` when they were read
        self._outdated = False

    @property
    def known(self) -> bool:
        """Whether the log has just these."""
        store = self._store
        return store is not None and self._generation == store.generation and not self._outdated

    def all(self) -> list[SandboxRequested]:
        return list(self._there.values())

    def of(self, subject: str) -> SandboxRequested | None:
        return self._there.get(subject)

    def stands(self, event: SandboxEvent) -> bool:
        """Whether this request is there, whichever sandbox it came with, and what was decided before it is
        no longer on its way."""
        subject = event.subject()
        return self._settled.get(subject, 0.0) <= time.monotonic() and over(event, self._there.get(subject))

    def outdate(self) -> None:
        """The log may be another one."""
        self._outdated = True

    async def read(self, store: Store) -> None:
        """Raises Rewound, StreamMissing, Unavailable."""
        if store is not self._store:
            self._store, self._generation = store, None
        while not self.known:
            generation, self._generation, self._outdated = store.generation, None, False
            newest: dict[str, object] = {}
            flaws = ParkedMessages("sandboxes")
            async for _, messages in read_once(store, [Read(NODE, self._under)], "sandboxes", flaws):
                newest |= {one.subject: event for one in messages if (event := flaws.read(one, NODE))}
            self._there, self._settled = {}, {}
            for subject, there in newest.items():
                if isinstance(there, SandboxRequested):
                    self._there[subject] = there
            self._generation = generation

    def remember(self, subject: str, there: object, *, first: bool = False) -> None:
        """What was found there, or stored; `first`: and there was nothing before."""
        if not isinstance(there, SandboxRequested):
            self._there.pop(subject, None)
            self._settled.pop(subject, None)
        elif self._there.get(subject) != there:
            self._there[subject] = there
            self._settled[subject] = time.monotonic() + (0.0 if first else GRACE)
