"""Reads ip rules, and the routes of the tables that they look up (linux/fib_rules.h)."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

from romana_bus.inet import V4, V6, Prefix
from romana_bus.netlink.constants import (
    FAMILY,
    FIBRULE,
    FRA_DST,
    FRA_FWMARK,
    FRA_IIFNAME,
    FRA_L3MDEV,
    FRA_OIFNAME,
    FRA_PRIORITY,
    FRA_SRC,
    FRA_SUPPRESS,
    FRA_TABLE,
    FRA_TUN_ID,
    FRA_UID_RANGE,
    GETROUTE,
    GETRULE,
    NEWROUTE,
    NEWRULE,
    RTA_DST,
    RTA_TABLE,
    RTMSG,
    RULE_INVERTED,
    THROW,
)
from romana_bus.netlink.messages import bodies, message, number, values
from romana_bus.netlink.socket import Socket, dump
from romana_bus.routing.obstacles import LOOKUP, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

#: FR_ACT_*
_ACTIONS = {1: LOOKUP, 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_SELECTIVE = (FRA_FWMARK, FRA_OIFNAME, FRA_L3MDEV, FRA_UID_RANGE, FRA_TUN_ID)
#: How many routes of a table are read: a routing daemon's may have a million. The default route comes first.
ROUTES = 1000


def read(socket: Socket) -> tuple[Rule, ...]:
    """The rules of both families, by priority. Raises OSError, Interrupted."""
    rules: list[Rule] = []
    for width in (V4, V6):
        request = message(GETRULE, 0, FIBRULE.pack(FAMILY[width], *[0] * 8))
        for part, start, end in bodies(dump(socket, request), NEWRULE):
            rules.append(_rule(part, start, end, width))
    return tuple(sorted(rules, key=lambda rule: (rule.width, rule.priority)))  # equal ones as they apply


def _rule(data: bytes, start: int, end: int, width: int) -> Rule:
    _, to, source, _, table, _, _, action, flags = FIBRULE.unpack_from(data, start)
    attributes = values(data, start + FIBRULE.size, end)

    def value(kind: int, default: int) -> int:
        return int.from_bytes(attributes[kind][:4], sys.byteorder) if kind in attributes else default

    def prefix(kind: int, length: int) -> Prefix | None:
        return Prefix(width, int.from_bytes(attributes[kind], "big"), length) if kind in attributes else None

    suppressed = value(FRA_SUPPRESS, 0xFFFFFFFF)
    return Rule(
        width=width,
        priority=value(FRA_PRIORITY, 0),
        action=_ACTIONS.get(action, str(action)),
        table=value(FRA_TABLE, table),
        source=prefix(FRA_SRC, source),
        destination=prefix(FRA_DST, to),
        inverted=bool(flags & RULE_INVERTED),
        selective=any(any(attributes.get(kind, b"")) for kind in _SELECTIVE),
        link=attributes.get(FRA_IIFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        suppressed=-1 if suppressed == 0xFFFFFFFF else suppressed,
    )


def routes(socket: Socket, width: int, table: int) -> frozenset[Prefix]:
    """The prefixes of the first ROUTES routes of a table. Routes of type throw do not count: the kernel goes
    on with the next rule. Raises OSError, Interrupted."""
    request = message(GETROUTE, 0, RTMSG.pack(FAMILY[width], *[0] * 8) + number(RTA_TABLE, table))
    return frozenset(itertools.islice(_routes(dump(socket, request), width, table), ROUTES))


def _routes(parts: list[bytes], width: int, table: int) -> Iterator[Prefix]:
    for part, start, end in bodies(parts, NEWROUTE):
        _, length, _, _, of_table, _, _, kind, _ = RTMSG.unpack_from(part, start)
        attributes = values(part, start + RTMSG.size, end)
        of_table = int.from_bytes(attributes.get(RTA_TABLE, bytes([of_table])), sys.byteorder)
        if of_table == table and kind != THROW:
            yield Prefix(width, int.from_bytes(attributes.get(RTA_DST, b""), "big"), length)
