"""The lease of a leader: a message that expires after two seconds unless its holder renews it.

It keeps replicas from competing. Two that both believe that they hold it do no harm: the fence of the stream
lets only one write. If the server's clock was set back, the message does not expire in time; so a replica
that waits also takes over a lease that was not renewed for 1.5 times its length by the replica's own clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus import tasks
from romana_bus.bus.api import Outgoing, WrongSequence

if TYPE_CHECKING:
    from romana_bus.bus.jetstream.messages import Streams


#: Seconds for an answer. Requests are repeated anyway, so a lost answer does not matter.
ANSWER_WITHIN = 1.0


class LeaseExpiry:
    """Notices by the local clock that a lease of another holder is no longer renewed."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._revision, self._since = -1, 0.0

    def expired(self, revision: int) -> bool:
        """Whether the lease has had this revision for 1.5 times its length."""
        now = tasks.monotonic()
        if revision != self._revision:
            self._revision, self._since = revision, now
        return now - self._since > 1.5 * self._ttl


class JetStreamLease:
    """See `api.Lease`. The `max_age` of its stream is the lease's length."""

    def __init__(self, store: Streams, name: str, holder: str, ttl: float) -> None:
        self._store, self._subject, self._holder, self.ttl = store, f"lease.{name}", holder, ttl
        self._revision = 0
        self._expiry = LeaseExpiry(ttl)

    async def acquire(self) -> bool:
        current = await self._store.newest_of(self._store.layout.lease, self._subject)
        others = current is not None and current.body and current.body != self._holder.encode()
        if current is not None and others and not self._expiry.expired(current.seq):
            return False
        return await self._write(self._holder.encode(), current.seq if current else 0)

    async def renew(self) -> bool:
        return await self._write(self._holder.encode(), self._revision)

    async def release(self) -> None:
        await self._write(b"", self._revision)

    async def _write(self, body: bytes, expected: int) -> bool:
        try:
            self._revision = await self._store.put(
                self._store.layout.lease, Outgoing(self._subject, body), expected, ANSWER_WITHIN
            )
        except WrongSequence:
            return False
        return True


async def holder(store: Streams, name: str) -> str:
    """The current holder of a lease, or ''."""
    current = await store.newest_of(store.layout.lease, f"lease.{name}")
    return current.body.decode() if current else ""
