"""The log's server, shared by all processes: streams in memory, with a clock that may step and a store that
may go back, and leases. Nothing here waits; what lies between a process and the server is in `client.py`."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from romana_bus.bus.clock import LogClock
from romana_bus.bus.memory import MemoryStore, _Stream
from romana_bus.events import ROLES
from tests.simulation.loop import START

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from romana_bus.bus.api import Election, Message, Outgoing
    from tests.simulation.log.client import Client

HISTORY = 24 * 3600.0


class Server(MemoryStore):
    """`acknowledged`: what it told somebody that it is stored, by stream and sequence, as long as its store
    does not go back."""

    def __init__(self) -> None:
        self.step = 0.0  # of its clock, seconds
        super().__init__(history=HISTORY)
        self.clock = LogClock(asyncio.get_running_loop().time, lambda: self.time)
        self.losing = 0.0  # the share of answers that get lost
        self.delay = 0.0  # by how much they may be late, seconds
        self._expired: dict[tuple[str, str], int] = {}  # tombstones that have left, by role and subject
        self._lease_numbers = 0
        self._held: dict[str, tuple[str, float, int]] = {}  # lease -> holder, until (its clock), revision
        self.clients: list[Client] = []
        self.acknowledged: dict[tuple[str, int], str] = {}
        self.heard: Callable[[str, Outgoing], None] = lambda *_: None  # what is stored
        self.restored: dict[
            str, float
        ] = {}  # stream -> when a backup of it was restored, by the loop's clock
        self.ambushes: list[tuple[str, Outgoing]] = []  # what is stored just before the next batch

    @property
    def time(self) -> int:
        self.now = asyncio.get_running_loop().time() + self.step
        return super().time

    def expire(self) -> None:
        """Tombstones, and leases, go by the server's own clock."""
        self.now = asyncio.get_running_loop().time() + self.step
        self.advance(0.0)

    def expired(self, role: str, message: Message) -> None:
        self._expired[role, message.subject] = message.seq

    def message(self, role: str, seq: int) -> Message | None:
        stream = self._streams.get(role)
        return stream.log.get(seq) if stream else None

    def table_at(self, role: str, behind: int) -> list[Message]:
        """The newest of each subject as they were `behind` messages ago: a mirror follows."""
        stream = self._stream(role)
        until = stream.last - behind
        newest: dict[str, Message] = {}
        for message in [*stream.table.values(), *stream.log.values()]:
            gone = self._expired.get((role, message.subject), 0)
            if gone < message.seq <= until and message.seq >= newest.get(message.subject, message).seq:
                newest[message.subject] = message
        return sorted(newest.values(), key=lambda message: message.seq)

    def go_back(self, role: str, by: int) -> None:
        """A backup was restored: the newest messages never happened."""
        self.restored[role] = asyncio.get_running_loop().time() - START
        last = self._stream(role).last
        self.rewind(role, max(0, last - by))
        self.acknowledged = {
            (stream, seq): id for (stream, seq), id in self.acknowledged.items()
            if stream != role or seq <= last - by
        }  # fmt: skip
        for client in self.clients:
            client.reconnect()

    def all_of(self, role: str) -> list[Message]:
        """As far as the log has it still."""
        stream = self._streams.get(role)
        return [*stream.log.values()] if stream else []

    def digest(self) -> str:
        """Of all that is on the logs."""
        digest = hashlib.blake2b(digest_size=8)
        for role in ROLES:
            for message in self.all_of(role):
                digest.update(repr(message).encode())
        return digest.hexdigest()

    def _batch(
        self, role: str, expected: int, messages: Sequence[Outgoing], election: Election | None
    ) -> int:
        for one in [one for one in self.ambushes if one[0] == role]:
            self.ambushes.remove(one)
            self._store(role, self._stream(role), one[1])
        return super()._batch(role, expected, messages, election)

    def _store(self, role: str, stream: _Stream, message: Outgoing) -> None:
        super()._store(role, stream, message)
        self.heard(role, message)

    def written(self, role: str, messages: Sequence[Outgoing], last: int) -> None:
        """These were acknowledged."""
        for place, message in enumerate(messages, last - len(messages) + 1):
            self.acknowledged[role, place] = message.id

    def make(self, role: str) -> None:
        if role not in self._streams:
            self._epochs += 1
            self._streams[role] = _Stream(f"epoch-{self._epochs}")

    # --- leases ---------------------------------------------------------------------------------------------

    def lease_of(self, name: str) -> tuple[str, int]:
        """Holder and revision."""
        holder, until, revision = self._held.get(name, ("", 0.0, 0))
        return (holder, revision) if until > self.now else ("", 0)

    def take_lease(self, name: str, holder: str, ttl: float, revision: int) -> bool:
        """Compare and set."""
        if self.lease_of(name)[1] != revision:
            return False
        self._lease_numbers += 1
        self._held[name] = holder, self.now + ttl, self._lease_numbers
        return True

    def end_lease(self, name: str, holder: str) -> None:
        if self.lease_of(name)[0] == holder:
            del self._held[name]
