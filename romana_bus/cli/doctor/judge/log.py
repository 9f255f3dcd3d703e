"""Judges the log: NATS, its streams, settings and clocks, and who writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.cli.doctor.finding import ok, warning, wrong

if TYPE_CHECKING:
    from romana_bus.cli.doctor.facts import Clocks, Nats, NatsSettings, Streams, Writers
    from romana_bus.cli.doctor.finding import Finding

#: Seconds by which clocks may differ.
CLOCK = 5.0
#: Messages by which a table may be behind its log.
TABLE_LAG = 1_000


def nats(nats: Nats) -> Finding:
    if not nats.trouble:
        return ok(f"NATS {nats.version} at {nats.where} has the log")
    return wrong(
        nats.trouble,
        "no decision is made, and agents hear of no change; running pods keep their network",
        "see that the server runs and is reached from here, and which --nats, --creds and cluster are named",
    )


def streams(streams: Streams) -> Finding:
    behind = [
        f"the table of {stream} is {lag:,} messages behind its log"
        for stream, lag in streams.table_lag.items()
        if lag > TABLE_LAG
    ]
    if streams.lost or behind:
        return wrong(
            "streams cannot be relied on",
            "what is read may be stale, and nothing may be stored",
            "see that all servers of the NATS cluster run and reach each other",
            (*streams.lost, *behind),
        )
    if streams.alarms:
        return wrong(
            "the store is nearly full",
            "logs drop their oldest messages; a full disk stops every decision",
            "free the disk, or see `romana-bus store show` and `store set --size`",
            streams.alarms,
        )
    return ok(f"{len(streams.table_lag)} streams with {streams.messages:,} messages")


def settings(settings: NatsSettings) -> Finding:
    if settings.wrong:
        return wrong(
            "settings of the NATS server are wrong",
            "decisions can be lost, or some events and clients are refused",
            "change its configuration as said, and restart it; see `romana-bus status`",
            (f"{name}: {text}" for name, text in settings.wrong.items()),
        )
    if settings.hidden:
        return warning(
            f"settings that only the server's monitoring port shows: {len(settings.hidden)}",
            "without `sync_interval: always` a power loss takes acknowledged decisions with it",
            "name the port with --nats-monitor, such as http://127.0.0.1:8222",
            (f"{name}: needs {needs}" for name, needs in settings.hidden.items()),
        )
    return ok("the settings of the NATS server that can be seen are right")


def clocks(clocks: Clocks) -> Finding:
    texts = []
    if abs(clocks.nats) > CLOCK:
        texts.append(f"this machine's clock is {_by(clocks.nats)} the NATS server's")
    if clocks.api is not None and abs(clocks.api) > CLOCK:
        texts.append(f"this machine's clock is {_by(clocks.api)} the API server's")
    if future := {stream: by for stream, by in clocks.future.items() if by > CLOCK}:
        named = ", ".join(f"{stream} by {by:,.0f} s" for stream, by in sorted(future.items()))
        return wrong(
            f"the newest events are ahead of the NATS server's clock: {named}",
            "that clock went back: cooldowns and the history of the log are wrong until it has caught up",
            "set the clock of the NATS server, and let NTP keep it",
            texts,
        )
    if texts:
        return warning(
            texts[0],
            "no decision depends on it, but logs are hard to compare, and certificates may count as expired",
            "let NTP keep the clocks of all machines",
            texts[1:],
        )
    return ok(f"clocks differ by less than {CLOCK:g} s")


def _by(seconds: float) -> str:
    return f"{abs(seconds):,.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def writers(writers: Writers) -> Finding:
    """Who leads, and what was not let through."""
    if writers.leaderless:
        commands = " and ".join(f"`romana-bus {command}`" for command in writers.leaderless.values())
        return wrong(
            f"nobody writes {' and '.join(writers.leaderless)}",
            "changes of the cluster are not seen, or pods get no addresses",
            f"start {commands}, or `romana-bus up`; if it runs, its log says why it does not lead",
        )
    if writers.foreign:
        return wrong(
            "somebody wrote to a stream that only its leader may write",
            "a stolen or misused key; the leader writes its own messages again",
            "find out who has that key, and revoke it (romana-bus auth revoke)",
            writers.foreign,
        )
    if writers.refused:
        return wrong(
            "NATS refused what processes asked for in the last hour",
            "a process with the wrong key, or a server that has not read server.conf again",
            "give the process the credentials of its role, and reload the server; see docs/security.md",
            writers.refused,
        )
    if writers.parked:
        return wrong(
            "messages on the log cannot be used, and are skipped",
            "they are of a newer version, or were published by hand",
            "update the older processes; `romana-bus events show` shows a message",
            writers.parked,
        )
    if writers.unsynced:
        return warning(
            "the log does not have all of the API server yet",
            "nothing is released before the listing is complete",
            "wait; if it lasts, the watcher's log and RBAC say why (`romana-bus resync`)",
            writers.unsynced,
        )
    return ok("the watcher and IPAM lead, and the log is in sync with the API server")
