"""The fields that are read of NATS' answers about a stream and a stored message."""

from __future__ import annotations

from typing import Any

import msgspec

#: Seconds within which a stream's leader hears from a live replica: each contacts it every second.
HEARD_WITHIN = 3.0


class StreamInfo(msgspec.Struct):
    """A stream's INFO (nats-server, StreamInfo). `ts`: the server's clock."""

    config: dict[str, Any]
    state: _State
    ts: str = ""
    cluster: _Copies | None = None

    @property
    def epoch(self) -> str:
        return str((self.config.get("metadata") or {}).get("romana_epoch", ""))


class _Copies(msgspec.Struct):
    """The servers that have the stream (nats-server, ClusterInfo). `replicas`: all but the leader."""

    leader: str = ""
    replicas: list[_Copy] = []

    @property
    def lost(self) -> str:
        """Why this information may be stale, or ''. A server that is cut off from the others answers as the
        leader for 15 s, and after that, for ever, without a leader."""
        if not self.replicas:
            return ""
        if not self.leader:
            return "the stream has no leader"
        heard = sum(copy.is_heard for copy in self.replicas)
        return "" if 2 * (1 + heard) > 1 + len(self.replicas) else "its leader does not hear the others"


class _Copy(msgspec.Struct):
    """One replica. `active`: nanoseconds since the leader heard from it last; also 0 if it never did."""

    current: bool = False
    active: int = 0

    @property
    def is_heard(self) -> bool:
        return (self.current or self.active > 0) and self.active < HEARD_WITHIN * 1e9


class _State(msgspec.Struct):
    first_seq: int = 0
    last_seq: int = 0
    bytes: int = 0


class StoredMessage(msgspec.Struct):
    """A message in an answer of the API (nats-server, StoredMsg)."""

    subject: str
    seq: int
    time: str
    data: str = ""
    hdrs: str = ""
