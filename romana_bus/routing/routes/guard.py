"""What a node lives on, and which routes of ours would take it away. Pure.

A node that loses its router or its log never hears the correction: so the agent itself refuses such routes,
whatever the log says. The kernel uses the longest prefix that contains an address; only between routes of
one prefix the metric counts. Therefore:

* A route that equals a connected prefix, or lies in it, is refused: all addresses in it are on the link, so
  it would take a part of the link away. With the equal prefix, the kernel prefers its own route, but only for
  as long as it has one: after the link was down for a moment, ours would be the only one.
* A shorter route that covers a connected prefix is harmless to it, since the connected one is longer.
* A route that covers an address which the node needs (its own, a gateway, one at which it reaches the log or
  the API server) is refused if it would become the way to that address: if no route of others to it is
  longer. So where only the default route leads to the log, every route that covers it is refused, and so is
  an `unreachable` one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import Prefix, format_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OWN, GATEWAY, REACHED = (
    "an address of this node",
    "a gateway of this node",
    "an address at which this node reaches the log or the API server",
)


class Network(NamedTuple):
    """What a node lives on. An address is (width, value). `addresses`: its own. `connected`: the prefixes of
    its links. `gateways`: of its default routes, and of the way to `reached`: where it reaches the log and
    the API server. `lengths`: of the prefix of the route of others that leads to each gateway and each
    address in `reached`; none where it is a default route, or there is no route."""

    addresses: frozenset[tuple[int, int]] = frozenset()
    connected: frozenset[Prefix] = frozenset()
    gateways: frozenset[tuple[int, int]] = frozenset()
    reached: frozenset[tuple[int, int]] = frozenset()
    lengths: Mapping[tuple[int, int], int] = {}


#: Before anything was read.
NOTHING = Network()


class Guard:
    """Decides which routes would take away what a node lives on."""

    def __init__(self, network: Network = NOTHING) -> None:
        self.network = network
        self._connected = _outermost(network.connected)
        self._needed: dict[
            Prefix, tuple[int, str]
        ] = {}  # address -> longest route of others to it, what it is
        for addresses, what in (
            (network.addresses, OWN), (network.gateways, GATEWAY), (network.reached, REACHED),
        ):  # fmt: skip
            for width, value in addresses:
                host = Prefix(width, value, width)
                lengths = [prefix.length for prefix in network.connected if prefix.contains(host)]
                lengths.append(network.lengths.get((width, value), 0))
                self._needed[host] = max(lengths), what
        self._hosts = sorted(self._needed)
        self._all = _outermost([*self._connected, *self._hosts])

    def is_clear(self, routes: Sequence[Prefix]) -> bool:
        """Whether all of these routes are harmless because nothing that the node lives on is between the
        first and the last of them. One look for a host's routes, since it is asked for every host of the
        cluster. `routes`: sorted, not empty."""
        everything = self._all
        width, base, _ = routes[0]
        last_width, last_base, last_length = routes[-1]
        at = bisect_right(everything, routes[0])
        end = last_base + (1 << (last_width - last_length))
        if at < len(everything) and everything[at] < (last_width, end):
            return False
        if not at:
            return True
        before_width, before_base, before_length = everything[at - 1]
        return before_width != width or bool((base ^ before_base) >> width - before_length)

    def refuses(self, route: Prefix) -> str:
        """Why the route would take away what the node lives on, or ''."""
        width, base, length = route
        if at := bisect_right(self._connected, route):
            link_width, link_base, link_length = self._connected[at - 1]
            if (
                width == link_width
                and length >= link_length
                and not (base ^ link_base) >> width - link_length
            ):
                return f"it lies in {self._connected[at - 1]}, to which this node is connected"
        at = bisect_left(self._hosts, route)
        while at < len(self._hosts) and self._hosts[at][0] == width:
            host = self._hosts[at]
            if (base ^ host[1]) >> width - length:
                return ""
            longest, what = self._needed[host]
            if length >= longest:
                return f"it would be the way to {format_address(width, host[1])}, {what}"
            at += 1
        return ""

    def needs(self, width: int, value: int) -> str:
        """What the address is to this node, or '' if a pod may have it."""
        return self._needed.get(Prefix(width, value, width), (0, ""))[1]


def _outermost(prefixes: Iterable[Prefix]) -> list[Prefix]:
    """Those that no other one contains, sorted."""
    outermost: list[Prefix] = []
    for prefix in sorted(prefixes):
        if not outermost or not outermost[-1].contains(prefix):
            outermost.append(prefix)
    return outermost
