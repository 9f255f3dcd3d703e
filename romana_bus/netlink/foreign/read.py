"""Reads everything foreign of a node at once."""

from __future__ import annotations

import errno

from romana_bus.inet import V4, V6, parse_address
from romana_bus.netlink import links
from romana_bus.netlink.constants import NETLINK_NETFILTER
from romana_bus.netlink.foreign import iptables, nftables, rules
from romana_bus.netlink.socket import Failure, Socket
from romana_bus.routing.obstacles import LOCAL, LOOKUP, MAIN, Chain, Foreign

#: Addresses that stand for everything outside: where none of them has a route, a default route is missing.
#: They are looked up, and nothing is sent. 2000::/3 is a default route too: 3fff::/20 is for documentation.
_OUTSIDE = {V4: ("192.0.2.1", "203.0.113.1"), V6: ("3fff::1",)}
#: No route, or one of type unreachable. An ip rule that prohibits the packet gives another error.
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH)


def read() -> Foreign:
    """What this thread's namespace has. Raises OSError, Interrupted."""
    with Socket() as socket:
        found = rules.read(socket)
        looked_up = {(rule.width, rule.table) for rule in found if rule.action == LOOKUP}
        tables = {
            (width, table): rules.routes(socket, width, table)
            for width, table in sorted(looked_up)
            if table not in (MAIN, LOCAL)
        }
        defaults = default_routes(socket)
    return Foreign(chains(), found, tables, defaults)


def chains() -> tuple[Chain, ...]:
    """The chains that drop forwarded packets. Raises OSError, Interrupted."""
    try:
        with Socket(protocol=NETLINK_NETFILTER) as socket:
            found = nftables.read(socket)
    except OSError as error:
        if error.errno not in nftables.ABSENT:
            raise
        found = []
    return (*found, *iptables.read())


def default_routes(socket: Socket) -> frozenset[int]:
    """The widths of the families in which a packet to the outside has a route. Raises OSError."""
    found = set()
    for width, texts in _OUTSIDE.items():
        answers = socket.ask([links.get_route(*parse_address(text)) for text in texts])
        if not all(isinstance(answer, Failure) and answer.errno in _NO_ROUTE for answer in answers):
            found.add(width)
    return frozenset(found)
