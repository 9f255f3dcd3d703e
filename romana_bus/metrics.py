"""Prometheus metrics of all processes. Labels: `consumer` is a name such as `ipam` or `watch`, `stream` is a
role such as `KUBE`. Metrics that are computed from IPAM's state are in `consumers/ipam_metrics.py`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

#: Events that were folded into a consumer's state.
FOLDED = Counter("romana_events_folded", "Events folded into state", ["consumer", "stream"])
#: Messages that could not be used (of a newer version, or published by hand).
PARKED = Counter("romana_events_parked", "Messages that are no event known here", ["consumer", "stream"])
#: Events that a fenced writer or a publisher put on the log.
PUBLISHED = Counter("romana_events_published", "Events published", ["consumer", "type"])
#: Messages that were deleted from tables: replaced, or tombstones that say nothing any more.
COMPACTED = Counter("romana_table_messages_deleted", "Messages deleted from tables", ["stream"])
#: Stored messages that a consumer has not folded yet.
LAG = Gauge("romana_consumer_lag", "Messages not folded yet", ["consumer", "stream"])
#: 1 while this process holds the consumer's lease.
LEADER = Gauge("romana_leader", "1 on the replica that leads", ["consumer"])
#: How often state was rebuilt from the table, and why.
BOOTS = Counter("romana_boots", "State rebuilt from the table", ["consumer", "why"])
#: Seconds that the last rebuild took.
BOOT_SECONDS = Gauge("romana_boot_seconds", "Duration of the last rebuild", ["consumer"])
#: Seconds from the time an event was stored to the time its consequence was applied or published.
TIME_TO_APPLY = Histogram(
    "romana_time_to_apply_seconds",
    "From an event's time to its consequence",
    ["consumer"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
#: Watching the API server.
WATCH_EVENTS = Counter("romana_watch_events", "Watch events and list items read", ["resource"])
WATCH_TROUBLE = Counter("romana_watch_trouble", "Requests that did not go well", ["resource", "what"])
LISTINGS = Counter("romana_listings", "Full listings made", ["resource"])
WATCH_SYNCED = Gauge("romana_watch_synced", "1 while the log has all that the API server has", ["resource"])
#: This machine's clock minus the log's.
CLOCK_DIFFERENCE = Gauge("romana_clock_difference_seconds", "This machine's clock, compared with the log's")
#: Seconds since the log answered last, over the connection of this process.
LOG_AGE = Gauge("romana_log_confirmed_age_seconds", "Since the log has last answered")
#: 1 while decisions or observations cannot be stored: a full disk, no leader, a refusal.
UNWRITABLE = Gauge("romana_log_unwritable", "1 while nothing can be stored", ["consumer"])
#: How often the client left a server because the log did not answer through it.
MOVES = Counter("romana_nats_moves", "Servers left because the log did not answer through them")
#: Subjects that the server did not let this process publish or subscribe to.
REFUSED = Counter("romana_permissions_refused", "Subjects that NATS refused", ["act"])
#: Messages by others on a stream that only its leader may write.
FOREIGN = Counter("romana_foreign_writes", "Messages by others on a fenced stream", ["stream"])
#: 1 for this process's role, leader or standby; both are 0 while it reads its tables, or without a log.
ROLE = Gauge("romana_role", "1 for what this process is", ["consumer", "role"])
#: Entities on the log that a list did not contain; each is asked for again before it counts as deleted.
DOUBTED = Gauge("romana_watch_doubted", "Entities that are missing and not believed to be gone", ["resource"])
#: Republished messages that were missing, and were read from the log.
REPAIRS = Counter("romana_live_repairs", "Missing messages that were read from the log", ["consumer"])
#: What others had changed on this node, and its agent made right: a pod's route, its gateway, its link.
MENDED = Counter("romana_drift_mended", "What others changed on a node, and its agent made right", ["what"])
#: Sandboxes whose network namespace was gone without a DEL.
LOST = Counter("romana_lost_sandboxes_released", "Sandboxes that ended without a DEL, and were released")
#: The store; `what` is log or table. Only processes that write logs measure it.
STREAM_BYTES = Gauge("romana_stream_bytes", "Bytes that a stream holds", ["stream", "what"])
STREAM_USED = Gauge("romana_stream_used", "Used part of a stream's share of the store", ["stream", "what"])
STORE_USED = Gauge(
    "romana_store_used", "Used part of the fullest storage: the store's, the server's, the disk"
)
