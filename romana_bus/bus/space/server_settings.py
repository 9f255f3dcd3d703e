"""What a NATS server needs: one table, which the connection checks, `status` prints, and the documentation
shows. Pure.

A server of the user's own may have any configuration. Some of it a client sees: the server's INFO line, the
account's information ($JS.API.INFO), and the streams. The rest only the monitoring port says (/varz).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.bus import stream_config
from romana_bus.bus.store_size import budget_from, shown
from romana_bus.bus.stream_config import STREAM

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes that a message may need: an event (`events/base.py`: LARGEST) and its headers.
PAYLOAD = 1_000_000
#: Bytes of a control line: a subject of 3,000 bytes beside a reply.
CONTROL_LINE = 4096
#: Consumers of one stream and connections, beside those of the nodes: replicas, commands, other programs.
OTHERS = 100
#: Seconds and bytes for a client that reads slowly; both are the server's defaults.
DEADLINE, PENDING = 10.0, 64 << 20

INFO, ACCOUNT, ECHO, VARZ = "INFO line", "`$JS.API.INFO`", "`STREAM.INFO`", "`/varz`"


class Facts(NamedTuple):
    """What is known of a server. `line`: its INFO line. `account`: $JS.API.INFO. `varz`: of the monitoring
    port, None if it is not named. `streams`: the configurations of the cluster's streams. `nodes`: how many
    the cluster has, 0 if that is not known."""

    line: dict[str, Any]
    account: dict[str, Any]
    varz: dict[str, Any] | None = None
    streams: tuple[dict[str, Any], ...] = ()
    nodes: int = 0

    @property
    def jetstream(self) -> dict[str, Any]:
        """The part of /varz about JetStream."""
        part = (self.varz or {}).get("jetstream")
        return part if isinstance(part, dict) else {}

    @property
    def level(self) -> int:
        return int((self.account.get("api") or {}).get("level") or 0)

    @property
    def version(self) -> str:
        return str(self.line.get("version", "?"))

    @property
    def budget(self) -> int:
        """The bytes of all logs and tables; 0 if a log has no limit."""
        logs = {match[2]: config for config in self.streams if (match := STREAM.fullmatch(config["name"]))}
        return budget_from({role: int(config.get("max_bytes", -1)) for role, config in logs.items()})

    @property
    def copies(self) -> int:
        """The least copies of a stream; 0 if no stream is known."""
        return min((int(config.get("num_replicas", 1)) for config in self.streams), default=0)


class Setting(NamedTuple):
    """A row. `name`: of the setting in the server's configuration. `needs`: its value. `why`. `source`: where
    it is read. `wrong(facts)`: what is wrong and what to do, '' if nothing is; None: it cannot be seen.
    `fatal`: nothing works safely without it, so the server is refused."""

    name: str
    needs: str
    why: str
    source: str
    wrong: Callable[[Facts], str | None]
    fatal: bool = False


class Verdict(NamedTuple):
    """A checked row. `text`: what is wrong; '' if it is well; None: it cannot be checked."""

    setting: Setting
    text: str | None

    @property
    def state(self) -> str:
        if self.text is None:
            return "not checkable" + (
                " without --nats-monitor" if self.setting.source.startswith(VARZ) else ""
            )
        return "wrong" if self.text else "ok"


def verdicts(facts: Facts) -> list[Verdict]:
    """All rows, checked."""
    return [Verdict(setting, setting.wrong(facts)) for setting in SETTINGS]


# --- the rows -------------------------------------------------------------------------------------------


def _version(facts: Facts) -> str:
    if facts.level >= stream_config.API_LEVEL:
        return ""
    return (
        f"NATS {facts.version} is too old (JetStream API level {facts.level}, needed "
        f"{stream_config.API_LEVEL}): it does not know atomic batches. Use nats-server 2.12 or newer; 2.15 "
        "is the first fast one"
    )


def _sync(facts: Facts) -> str | None:
    if facts.varz is None:
        return None
    if (facts.jetstream.get("config") or {}).get("sync_always"):
        return ""
    return (
        "this NATS server does not sync every write, so a power loss takes acknowledged decisions with it: "
        "set `jetstream { sync_interval: always }` in its config and restart it"
    )


def _payload(facts: Facts) -> str:
    if (room := int(facts.line.get("max_payload", 0))) >= PAYLOAD:
        return ""
    return (
        f"this NATS server takes messages of {room:,} bytes, and events have up to {PAYLOAD:,}: set "
        "`max_payload: 1MB` in its config and restart it"
    )


def _consumers(facts: Facts) -> str | None:
    if facts.varz is None:
        return None
    limit = int((facts.jetstream.get("limits") or {}).get("default_max_consumers") or 0)
    needed = 2 * facts.nodes + OTHERS
    if limit <= 0 or limit >= needed:
        return ""
    return (
        f"a stream may have {limit:,} consumers, and {facts.nodes:,} nodes may need {needed:,}: set "
        "`jetstream { limits { default_max_consumers: 50000 } }`"
    )


def _storage(facts: Facts) -> str | None:
    limit = int((facts.account.get("limits") or {}).get("max_storage") or 0) // max(1, facts.copies)
    limit = max(limit, 0) or int((facts.jetstream.get("config") or {}).get("max_storage") or 0)
    if not limit or not facts.budget:
        return None
    if limit >= facts.budget:
        return ""
    return (
        f"the server may store {shown(limit)}, and the logs and tables may need {shown(facts.budget)}: set "
        f"`jetstream {{ max_file_store }}` to more than that, or `romana-bus store set --size` to less"
    )


def _number(field: str, least: float, setting: str, unit: float = 1) -> Callable[[Facts], str | None]:
    """A row for a number in /varz. `unit`: of the number there."""

    def wrong(facts: Facts) -> str | None:
        value = (facts.varz or {}).get(field)
        if not isinstance(value, int | float):
            return None
        return "" if value / unit >= least else f"{field} is {value / unit:,g}: set `{setting}` or more"

    return wrong


def _connections(facts: Facts) -> str | None:
    limit, needed = (facts.varz or {}).get("max_connections"), facts.nodes + OTHERS
    if not isinstance(limit, int):
        return None
    if limit >= needed:
        return ""
    return f"max_connections is {limit:,}, and {facts.nodes:,} nodes need {needed:,}: raise it"


def _copies(facts: Facts) -> str | None:
    if not facts.copies:
        return None
    if not facts.line.get("cluster") or facts.copies > 1:
        return ""
    return (
        "the streams have one copy on a cluster of servers, so they are lost with one disk: run `romana-bus "
        "store set --replicas 3`"
    )


SETTINGS = (
    Setting(
        "nats-server", "2.12 or newer; 2.15 is recommended",
        "atomic batches. Before 2.15 each message of a batch is synced by itself: a tenth of the speed",
        ACCOUNT, _version, fatal=True,
    ),
    Setting(
        "jetstream", "on", "the log is stored there", ACCOUNT,
        lambda facts: "" if facts.account else None, fatal=True,
    ),
    Setting(
        "jetstream.sync_interval", "always",
        "with the default, a power loss takes what was acknowledged in the last half minute", VARZ, _sync,
        fatal=True,
    ),
    Setting(
        "max_payload", "1 MB (default)", "an event has up to 900,000 bytes, and headers", INFO, _payload,
        fatal=True,
    ),
    Setting(
        "max_control_line", "4096 (default)", "long subjects beside a reply subject", VARZ,
        _number("max_control_line", CONTROL_LINE, "max_control_line: 4096"),
    ),
    Setting(
        "jetstream.max_file_store", "the store's size (`--store-size`) of each cluster",
        "limits of logs are reserved when they are created, and tables grow beside them",
        f"{VARZ}, or the account's limit in {ACCOUNT}", _storage,
    ),
    Setting(
        "jetstream.limits.default_max_consumers", f"twice the nodes, and {OTHERS}; 50000 is enough",
        "readers of one stream; 2.15 allows 1,000, and refuses the next with error 10026", VARZ, _consumers,
    ),
    Setting(
        "max_connections", f"the nodes, and {OTHERS} (65536 by default)", "each agent holds one", VARZ,
        _connections,
    ),
    Setting(
        "write_deadline", "10s (default)", "a client that reads more slowly is disconnected", VARZ,
        _number("write_deadline", DEADLINE, 'write_deadline: "10s"', 1e9),
    ),
    Setting(
        "max_pending", "64MB (default)", "bursts for a client that reads slowly", VARZ,
        _number("max_pending", PENDING, "max_pending: 64MB"),
    ),
    Setting(
        "cluster", "three servers, streams with `--replicas 3`",
        "a log with one copy is lost with its disk, and waits for its server", ECHO, _copies,
    ),
    Setting(
        "server_name, jetstream.unique_tag", "different names; a tag for each zone",
        "two copies of a stream must not share a machine or a zone", "not visible to a client",
        lambda _: None,
    ),
)  # fmt: skip
