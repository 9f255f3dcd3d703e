"""Who tries to write: a message that disappears after two seconds unless its holder renews it.

It only keeps the replicas from working against each other. Two that both believe they hold it do no
harm: the fence of the stream lets one write. One that nobody has renewed for longer than that is over too,
by the time of whoever waits for it: where the server's clock was set back, it would not disappear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus import tasks
from romana_bus.bus.api import Outgoing, WrongSequence

if TYPE_CHECKING:
    from romana_bus.bus.jetstream.messages import Streams


#: Seconds for an answer: it is asked again and again, so one that was lost is no matter.
ANSWER_WITHIN = 1.0


class Silence:
    """For how long a lease that is somebody else's was not renewed."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._revision, self._since = -1, 0.0

    def over(self, revision: int) -> bool:
        """Whether it has had this revision for half as long again as it lasts."""
        now = tasks.monotonic()
        if revision != self._revision:
            self._revision, self._since = revision, now
        return now - self._since > 1.5 * self._ttl


class JetStreamLease:
    """See `api.Lease`. The stream's `max_age` is the lease's length."""

    def __init__(self, store: Streams, name: str, holder: str, ttl: float) -> None:
        self._store, self._subject, self._holder, self.ttl = store, f"lease.{name}", holder, ttl
        self._revision = 0
        self._silence = Silence(ttl)

    async def acquire(self) -> bool:
        found = await self._store.newest_of(self._store.layout.lease, self._subject)
        others = found is not None and found.body and found.body != self._holder.encode()
        if found is not None and others and not self._silence.over(found.seq):
            return False
        return await self._write(self._holder.encode(), found.seq if found else 0)

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
    """Who holds it now, or ''."""
    found = await store.newest_of(store.layout.lease, f"lease.{name}")
    return found.body.decode() if found else ""
