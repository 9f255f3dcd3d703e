"""The configuration of the streams, and whether a server keeps them safely. Pure.

A server ignores fields that it does not know, silently before 2.12. So the configuration that it returns is
compared with the requested one, field by field; a difference that could lose messages is refused.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from romana_bus.bus.parts import LIVE
from romana_bus.bus.store_size import Size, log_bytes
from romana_bus.events import ROLES

#: Atomic batches; nats-server 2.12.
API_LEVEL = 2
#: A second in ns, the unit of JetStream's configuration.
NANOSECONDS = 1_000_000_000
DAY = 86_400.0

#: A stream's configuration in JSON: JetStream's StreamConfig, with times in nanoseconds.
Config = dict[str, Any]


#: The name of a log's stream; its groups are the cluster and the role.
STREAM = re.compile(rf"ROMANA_([^_]+)_({'|'.join(ROLES)})")


class Layout(NamedTuple):
    """How the streams of one cluster are kept. `history`: seconds. `replicas`: 1, or 3 on a cluster of
    servers. `size`: what the user wants of the store, None for no limit; `budget`: that in bytes, of each
    copy, once the server is known; 0 for no limit."""

    cluster: str = "default"
    history: float = 7 * DAY
    replicas: int = 1
    size: Size | None = None
    budget: int = 0

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
        "max_bytes": log_bytes(layout.budget, role) if layout.budget else -1,
        "duplicate_window": int(min(120.0, layout.history) * NANOSECONDS),
        "allow_atomic": True,
        "republish": {
            "src": f"{layout.prefix}{role.lower()}.>",
            "dest": f"{layout.prefix}{LIVE}.{role.lower()}.>",
        },
        "deny_delete": True,
        "deny_purge": True,
    }


def table_config(layout: Layout, role: str, epoch: str) -> Config:
    """The table: the newest message of each subject, for ever, but for tombstones. The server deletes nothing
    by itself: what it replaces by a limit for each subject, or what expires, it does not record as gone
    (`jetstream/compaction.py` deletes it). Only the table answers direct requests: if the log did, its table
    would answer in its stead (measured on 2.15), and the table has no history."""
    return _common(layout, epoch) | {
        "name": layout.table(role),
        "mirror": {"name": layout.stream(role)},
        "max_msgs_per_subject": -1,
        "max_age": 0,
        "allow_msg_ttl": False,
        "allow_direct": True,
    }


def is_compacted(table: Config) -> bool:
    """Whether a table, by its configuration, needs its leader to delete what it has replaced. A table of an
    older version keeps one message of each subject, and tombstones for the history window."""
    return int(table.get("max_msgs_per_subject", -1)) < 1


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


#: Fields that are newer than the first streams, and can be set on a stream with messages, and on its table.
_IN_PLACE = ("allow_direct", "republish")
#: What tables of older versions have. They are used as they are: what the server has replaced there may come
#: back, so nothing of them may be deleted.
_OLDER_TABLE: Config = {"max_msgs_per_subject": 1, "allow_msg_ttl": True}
#: Fields that an operator may change on an existing stream, and fields that differ between two creators.
_FREE = ("max_age", "max_bytes", "num_replicas", "duplicate_window", "max_consumers", "metadata")


def unsafe(wanted: Config, echoed: Config) -> list[str]:
    """The reasons why the server's stream cannot be used; [] if it can. `wanted`: the requested StreamConfig;
    `echoed`: the one that the server returned."""
    name = wanted["name"]
    older = _OLDER_TABLE if "mirror" in wanted and not is_compacted(echoed) else {}
    reasons = [
        f"stream {name}: {field} is {_shown(echoed.get(field))}, must be {_shown(value)}"
        for field, value in (wanted | older).items()
        if field not in (*_FREE, *_IN_PLACE) and _differs(value, echoed.get(field))
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


def outdated(wanted: Config, echoed: Config) -> Config:
    """The fields in which a usable stream is older than this version, as they should be. A log that has no
    limit gets one; any other limit is its operator's."""
    fields = {field: wanted[field] for field in _IN_PLACE if field in wanted}
    changed = {field: value for field, value in fields.items() if _differs(value, echoed.get(field))}
    if wanted.get("max_bytes", -1) > 0 and echoed.get("max_bytes", -1) <= 0:
        changed["max_bytes"] = wanted["max_bytes"]
    return changed


def settings(wanted: Config) -> Config:
    """The fields of a wanted stream that an operator sets: copies, and of a log its limits too; of a log
    without a budget not its bytes."""
    names = ["num_replicas"]
    if "max_bytes" in wanted:
        names += ["max_age", "duplicate_window"]
    if wanted.get("max_bytes", -1) > 0:
        names += ["max_bytes"]
    return {name: wanted[name] for name in names}


def _differs(wanted: Any, echoed: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(echoed, dict):
        return any(_differs(value, echoed.get(field)) for field, value in wanted.items())
    return bool(wanted != echoed) and not (not wanted and not echoed)


def _shown(value: Any) -> str:
    return "not set (an older server ignores it)" if value is None else repr(value)
