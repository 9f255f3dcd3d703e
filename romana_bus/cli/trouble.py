"""What has no room, who waits for it, and what was set aside: the end of `ipam show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.cli import show
from romana_bus.cli.terminal import Text
from romana_bus.ipam.allocate.fullness import BLOCK, GROUP, NETWORK
from romana_bus.ipam.report.exhaustion import Exhaustion
from romana_bus.ipam.report.lookup import reserved

if TYPE_CHECKING:
    from romana_bus.ipam import State
    from romana_bus.ipam.report.exhaustion import Full


def waiting(state: State) -> list[dict[str, Any]]:
    """The pods that want an address and have none, with the reason."""
    return [
        {"pod": key, "node": name, "code": record.code, "reason": record.reason}
        for name, host in sorted(state.hosts.items())
        for key, record in sorted(host.records.items())
        if record.code
    ]


def print_reserved(state: State) -> None:
    if not (found := reserved(state)):
        return
    table = show.table("range", "network", "addresses", "", right=("addresses",))
    for one in found:
        left = f"draining: {one.live:,} left" if one.live else ""
        table.add_row(one.cidr, one.network, show.count(one.size), Text(left, "yellow"))
    show.section("reserved ranges", table)


def print_nowhere(denied: list[tuple[str, str]], every: bool) -> None:
    if not denied:
        return
    table = show.table("node", "why")
    shown, more = show.first(sorted(denied), every)
    for row in shown:
        table.add_row(*row)
    show.section("nodes without a place", table, *show.and_more(more, show.ALL))


def print_full(state: State, every: bool = False) -> None:
    """What has no room. Of a network that is full, not each of its groups as well."""
    found = Exhaustion(state).found
    networks = {one.network for one in found if one.scope == NETWORK}
    found = tuple(one for one in found if one.scope != GROUP or one.network not in networks)
    if not found:
        return
    shown, more = show.first(found, every)
    table = show.table("full", "prefix", "pods waiting", "why", right=("pods waiting",))
    for one in shown:
        what = f"network {one.network}" if one.scope == NETWORK else f"group {one.group} of {one.network}"
        table.add_row(what, one.prefix, show.count(one.waiting), _why(one))
    show.section("without room", table, *show.and_more(more, show.ALL))


def _why(one: Full) -> Text:
    if one.scope != BLOCK:
        what = "no group has a free address" if one.scope == NETWORK else "no free address"
        return Text(what + (f"; {one.cooling:,} cool down" if one.cooling else ""), "red")
    free = show.many(one.free, "free address is", "free addresses are")
    if not one.nodes:
        return Text(f"no whole block left; {free} in the blocks of nodes", "yellow")
    nodes = ", ".join(one.nodes[:3]) + (f" and {len(one.nodes) - 3:,} more" if len(one.nodes) > 3 else "")
    text = f"no whole block left for {nodes}; {free} in blocks of other nodes"
    return Text(text, "red" if one.waiting else "yellow")


def print_waiting(state: State, every: bool = False) -> None:
    if not (found := waiting(state)):
        return
    table = show.table("pod", "node", "why")
    shown, more = show.first(found, every)
    for one in shown:
        table.add_row(one["pod"], one["node"], one["reason"])
    show.section("pods without an address", table, *show.and_more(more, show.ALL))
