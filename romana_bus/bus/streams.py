"""What the streams look like, and whether a server keeps them as they must be kept. Pure.

A server ignores what it does not know (before 2.12 without a word), so what it echoes is compared with
what was asked for, field by field, and a difference that could lose something is refused.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from romana_bus.events import IPAM, KUBE, NODE, SPEC

#: Atomic batches; nats-server 2.12.
API_LEVEL = 2
SECOND = 1_000_000_000
DAY = 86_400.0

#: The first token of every subject on the stream of a role.
TOKENS = {KUBE: "kube", SPEC: "spec", IPAM: "ipam", NODE: "node"}

Config = dict[str, Any]


#: The name of a log's stream: of which cluster it is.
STREAM = re.compile(rf"ROMANA_([^_]+)_(?:{'|'.join(TOKENS)})")


class Layout(NamedTuple):
    """How the streams of one cluster are kept. `history`: seconds; `max_bytes`: per stream, -1 for all
    there is; `replicas`: 1, or 3 on a cluster of servers."""

    cluster: str = "default"
    history: float = 7 * DAY
    replicas: int = 1
    max_bytes: int = -1

    def stream(self, role: str) -> str:
        return f"ROMANA_{self.cluster}_{role}"

    def table(self, role: str) -> str:
        return f"{self.stream(role)}_LATEST"

    @property
    def lease(self) -> str:
        return f"ROMANA_{self.cluster}_LEASE"

    @property
    def prefix(self) -> str:
        return f"romana.{self.cluster}."


def log_config(layout: Layout, role: str, epoch: str) -> Config:
    """The log: everything of the history window, never deleted by hand."""
    return _common(layout, epoch) | {
        "name": layout.stream(role),
        "subjects": [f"{layout.prefix}{TOKENS[role]}.>"],
        "max_age": int(layout.history * SECOND),
        "max_bytes": layout.max_bytes,
        "duplicate_window": int(min(120.0, layout.history) * SECOND),
        "allow_atomic": True,
        "deny_delete": True,
        "deny_purge": True,
    }


def table_config(layout: Layout, role: str, epoch: str) -> Config:
    """The table: the newest of each subject, for ever; tombstones leave by their own TTL."""
    return _common(layout, epoch) | {
        "name": layout.table(role),
        "mirror": {"name": layout.stream(role)},
        "max_msgs_per_subject": 1,
        "max_age": 0,
    }


def lease_config(layout: Layout, ttl: float) -> Config:
    return {
        "name": layout.lease,
        "subjects": [f"{layout.prefix}lease.*"],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "num_replicas": layout.replicas,
        "max_msgs_per_subject": 1,
        "max_age": int(ttl * SECOND),
        "duplicate_window": int(min(ttl, 1.0) * SECOND),
    }


def matches(under: str, subject: str) -> bool:
    """Whether a filter selects the subject: `*` stands for one token, `>` for the rest."""
    wanted, tokens = under.split("."), subject.split(".")
    for at, one in enumerate(wanted):
        if one == ">":
            return len(tokens) > at
        if at >= len(tokens) or one not in ("*", tokens[at]):
            return False
    return len(wanted) == len(tokens)


def _common(layout: Layout, epoch: str) -> Config:
    return {
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "num_replicas": layout.replicas,
        "max_msgs": -1,
        "max_consumers": -1,
        "allow_msg_ttl": True,
        "metadata": {"romana_epoch": epoch},
    }


#: What an operator may change on a stream that exists, and what differs between two creators.
_FREE = ("max_age", "max_bytes", "num_replicas", "duplicate_window", "max_consumers", "metadata")


def unsafe(wanted: Config, echoed: Config) -> list[str]:
    """Why the stream that the server has cannot be used: [] if it can."""
    name = wanted["name"]
    found = [
        f"stream {name}: {field} is {_shown(echoed.get(field))}, must be {_shown(value)}"
        for field, value in wanted.items()
        if field not in _FREE and _differs(value, echoed.get(field))
    ]
    if "romana_epoch" not in (echoed.get("metadata") or {}) and "metadata" in wanted:
        found.append(f"stream {name}: has no epoch, so it was not made by romana-bus, or by a server < 2.10")
    if echoed.get("persist_mode") == "async":
        found.append(f"stream {name}: persist_mode async loses acknowledged messages on power loss")
    if echoed.get("max_msgs_per_subject", -1) > 0 and "max_msgs_per_subject" not in wanted:
        found.append(f"stream {name}: max_msgs_per_subject drops history")
    if echoed.get("sealed"):
        found.append(f"stream {name}: is sealed")
    return found


def _differs(wanted: Any, echoed: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(echoed, dict):
        return any(_differs(value, echoed.get(field)) for field, value in wanted.items())
    return bool(wanted != echoed) and not (not wanted and not echoed)


def _shown(value: Any) -> str:
    return "not set (an older server ignores it)" if value is None else repr(value)
