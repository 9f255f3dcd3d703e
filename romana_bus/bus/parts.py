"""The parts of a stream that are followed by its republished messages, and how a reader knows that it has
all.

A log publishes each stored message again, on `live.<subject>`, as a plain NATS message, which costs the
server less than a consumer for each of thousands of readers. Such a message can be lost. So the leader of the
stream writes a chain: each message names the sequence of the one before it in its part. And about once a
second it says where the stream and its parts end (`Heartbeat`, on `alive.<stream>` and `alive.<part>`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from romana_bus.events import LED

if TYPE_CHECKING:
    from collections.abc import Iterator

#: First tokens of subjects, behind the cluster's prefix: of what is published again, and of what is not
#: stored.
LIVE, ALIVE = "live", "alive"
#: The header that names the previous message of the same part.
FOLLOWS = b"Romana-Follows"
#: Seconds after a message at which a heartbeat of its own names it, in a part that only a few read; twice,
#: since the first one may be lost as well.
REPEATS = (1.0, 5.0)
#: How many such parts a leader remembers: those that it wrote last. And seconds for which it remembers one
#: whose newest message is a tombstone: the node may be gone. If not, its agent reads one message again.
REMEMBERED, ENDED = 20_000, 600.0

#: Stream and second token -> how many tokens name a part.
_TOKENS = {
    (tokens[0], tokens[1]): len(tokens) - 1
    for tokens in (part.split(".") for stream in LED for part in stream.parts)
}


def part_of(subject: str) -> str:
    """The part that a subject belongs to, such as `ipam.map` or `ipam.address.n1`; '' if to none."""
    tokens = subject.split(".", 3)
    size = _TOKENS.get((tokens[0], tokens[1]), 0) if len(tokens) > 1 else 0
    return ".".join(tokens[:size]) if len(tokens) > size else ""


def followed_by(role: str, under: str) -> str | None:
    """The part that a filter selects; '' for a whole stream; None if it selects something else, which can be
    read with a consumer only."""
    if all(stream.name != role for stream in LED):
        return None
    if under in (">", f"{role.lower()}.>"):
        return ""
    part = under.removesuffix(".>")
    return part if under != part and "*" not in part and part_of(f"{part}.x") == part else None


def shared(role: str) -> list[str]:
    """The parts of a stream that all readers may follow."""
    return [
        part.removesuffix(".>")
        for stream in LED
        if stream.name == role
        for part in stream.parts
        if "*" not in part
    ]


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a stream ends, by its leader. `newest`: the last sequence that is stored, of the stream, or of
    the one part that the subject names. `parts`: the same for the parts that all readers may follow. `now`:
    the log's time, µs."""

    epoch: str
    newest: int
    parts: dict[str, int] = {}
    now: int = 0


class Chain:
    """The parts of a stream that its leader has written: the newest sequence of each. `epoch`: of the
    stream."""

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._shared: dict[str, int] = {}  # parts that all may read
        self._newest: dict[str, int] = {}  # the others, in the order of their newest messages
        self._ended: dict[str, float] = {}  # those that end with a tombstone, and when they are forgotten
        self._named = tuple((after, deque[tuple[float, str, int]]()) for after in REPEATS)

    def know(self, part: str, seq: int) -> None:
        """Note where a part that all may read ends; 0 if it is empty."""
        self._shared[part] = seq

    def link(self, subject: str, seq: int, now: float, *, tombstone: bool = False) -> int:
        """Note the next message; returns the sequence that it follows in its part: 0 for the first one, -1 if
        that is unknown or it belongs to no part. `now`: seconds, monotonic."""
        part = part_of(subject)
        if not part:
            return -1
        if part in self._shared:
            previous, self._shared[part] = self._shared[part], seq
            return previous
        previous = self._newest.pop(part, -1)
        self._newest[part] = seq
        self._ended.pop(part, None)
        if tombstone:
            self._ended[part] = now + ENDED
        for after, named in self._named:
            named.append((now + after, part, seq))
        while len(self._newest) > REMEMBERED:
            self._forget(next(iter(self._newest)))
        return previous

    def _forget(self, part: str) -> None:
        self._newest.pop(part, None)
        self._ended.pop(part, None)

    def unlink(self, subject: str, previous: int) -> None:
        """Undo `link`, of the newest message of a part: it gets another sequence. `previous`: what `link`
        returned."""
        part = part_of(subject)
        if part in self._shared:
            self._shared[part] = previous
        elif previous >= 0:
            self._newest[part] = previous
        else:
            self._forget(part)

    def heartbeats(self, role: str, stored: int, time: int, now: float) -> Iterator[tuple[str, Heartbeat]]:
        """Subject and content of the heartbeats that are due. `stored`: the last sequence that is stored.
        `time`: the log's, µs. Forgets the parts that ended some time ago."""
        while self._ended and next(iter(self._ended.values())) <= now:
            self._forget(next(iter(self._ended)))
        shared = {part: seq for part, seq in sorted(self._shared.items()) if seq <= stored}
        yield role.lower(), Heartbeat(epoch=self._epoch, newest=stored, parts=shared, now=time)
        for _, named in self._named:
            while named and named[0][0] <= now and named[0][2] <= stored:
                _, part, seq = named.popleft()
                if self._newest.get(part) == seq:
                    yield part, Heartbeat(epoch=self._epoch, newest=seq)
