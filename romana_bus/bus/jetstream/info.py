"""What is read of NATS's answers about a stream, and about a message of it."""

from __future__ import annotations

from typing import Any

import msgspec

#: Seconds in which a stream's leader hears of the servers that have copies: each tells it every second.
HEARD_WITHIN = 3.0


class StreamInfo(msgspec.Struct):
    """What is read of a stream's INFO (nats-server, StreamInfo). `ts`: the server's clock."""

    config: dict[str, Any]
    state: _State
    ts: str = ""
    cluster: _Copies | None = None

    @property
    def epoch(self) -> str:
        return str((self.config.get("metadata") or {}).get("romana_epoch", ""))


class _Copies(msgspec.Struct):
    """Who has the stream (nats-server, ClusterInfo). `replicas`: all but the leader."""

    leader: str = ""
    replicas: list[_Copy] = []

    @property
    def lost(self) -> str:
        """Why what is said of the stream may be old, or ''. A server that is cut off from the others answers
        as if it led, for a quarter of a minute, and then without a leader, for ever."""
        if not self.replicas:
            return ""
        if not self.leader:
            return "the stream has no leader"
        heard = sum(copy.is_heard for copy in self.replicas)
        return "" if 2 * (1 + heard) > 1 + len(self.replicas) else "its leader does not hear the others"


class _Copy(msgspec.Struct):
    """`active`: nanoseconds since the leader has heard of it, 0 also where it never has."""

    current: bool = False
    active: int = 0

    @property
    def is_heard(self) -> bool:
        return (self.current or self.active > 0) and self.active < HEARD_WITHIN * 1e9


class _State(msgspec.Struct):
    first_seq: int = 0
    last_seq: int = 0


class StoredMessage(msgspec.Struct):
    """What is read of a message that the API gives (nats-server, StoredMsg)."""

    subject: str
    seq: int
    time: str
    data: str = ""
    hdrs: str = ""
