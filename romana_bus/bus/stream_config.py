"""The configuration of the streams, and whether a server keeps them safely. Pure.

A server ignores fields that it does not know, silently before 2.12. So the configuration that it returns is
compared with the requested one, field by field; a difference that could lose messages is refused.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from romana_bus.events import ROLES

#: Atomic batches; nats-server 2.12.
API_LEVEL = 2
#: A second in ns, the unit of JetStream's configuration.
NANOSECONDS = 1_000_000_000
DAY = 86_400.0

#: A stream's configuration in JSON: JetStream's StreamConfig, with times in nanoseconds.
Config = dict[str, Any]


#: The name of a log's stream; its group is the cluster.
STREAM = re.compile(rf"ROMANA_([^_]+)_(?:{'|'.join(ROLES)})")


class Layout(NamedTuple):
    """How the streams of one cluster are kept. `history`: seconds; `max_bytes`: per stream, -1 for no limit;
    `replicas`: 1, or 3 on a cluster of servers."""

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
    """The log: all messages of the history window. Nobody can delete or purge them."""
    return _common(layout, epoch) | {
        "name": layout.stream(role),
        "subjects": [f"{layout.prefix}{role.lower()}.>"],
        "max_age": int(layout.history * NANOSECONDS),
        "max_bytes": layout.max_bytes,
        "duplicate_window": int(min(120.0, layout.history) * NANOSECONDS),
        "allow_atomic": True,
        "deny_delete": True,
        "deny_purge": True,
    }


def table_config(layout: Layout, role: str, epoch: str) -> Config:
    """The table: the newest message of each subject, for ever; tombstones expire by their own TTL."""
    return _common(layout, epoch) | {
        "name": layout.table(role),
        "mirror": {"name": layout.stream(role)},
        "max_msgs_per_subject": 1,
        "max_age": 0,
    }


def lease_config(layout: Layout, ttl: float) -> Config:
    """The leases of the leaders, as JetStream's StreamConfig: one message per lease, which expires unless its
    holder renews it. `ttl`: seconds until an unrenewed lease expires."""
    return {
        "name": layout.lease,
        "subjects": [f"{layout.prefix}lease.*"],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "num_replicas": layout.replicas,
        "max_msgs_per_subject": 1,
        "max_age": int(ttl * NANOSECONDS),
        "duplicate_window": int(min(ttl, 1.0) * NANOSECONDS),
    }


def matches(under: str, subject: str) -> bool:
    """Whether a filter selects the subject: `*` matches one token, `>` the rest."""
    pattern, tokens = under.split("."), subject.split(".")
    for index, wanted in enumerate(pattern):
        if wanted == ">":
            return len(tokens) > index
        if index >= len(tokens) or wanted not in ("*", tokens[index]):
            return False
    return len(pattern) == len(tokens)


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


#: Fields that an operator may change on an existing stream, and fields that differ between two creators.
_FREE = ("max_age", "max_bytes", "num_replicas", "duplicate_window", "max_consumers", "metadata")


def unsafe(wanted: Config, echoed: Config) -> list[str]:
    """The reasons why the server's stream cannot be used; [] if it can. `wanted`: the requested StreamConfig;
    `echoed`: the one that the server returned."""
    name = wanted["name"]
    reasons = [
        f"stream {name}: {field} is {_shown(echoed.get(field))}, must be {_shown(value)}"
        for field, value in wanted.items()
        if field not in _FREE and _differs(value, echoed.get(field))
    ]
    if "romana_epoch" not in (echoed.get("metadata") or {}) and "metadata" in wanted:
        reasons.append(
            f"stream {name}: has no epoch, so romana-bus did not create it, or a server < 2.10 did"
        )
    if echoed.get("persist_mode") == "async":
        reasons.append(f"stream {name}: persist_mode async loses acknowledged messages on power loss")
    if echoed.get("max_msgs_per_subject", -1) > 0 and "max_msgs_per_subject" not in wanted:
        reasons.append(f"stream {name}: max_msgs_per_subject drops history")
    if echoed.get("sealed"):
        reasons.append(f"stream {name}: is sealed")
    return reasons


def _differs(wanted: Any, echoed: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(echoed, dict):
        return any(_differs(value, echoed.get(field)) for field, value in wanted.items())
    return bool(wanted != echoed) and not (not wanted and not echoed)


def _shown(value: Any) -> str:
    return "not set (an older server ignores it)" if value is None else repr(value)
